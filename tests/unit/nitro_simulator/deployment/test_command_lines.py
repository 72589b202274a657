from __future__ import annotations

from nitro_simulator.account import SimulatedAccount
from nitro_simulator.deployment import command_lines as commands


def option(command_line: list[str], name: str) -> str:
    return command_line[command_line.index(name) + 1]


def test_each_tool_is_pointed_to_the_next_one(account: SimulatedAccount) -> None:
    proxy, enclave = commands.proxy_command(account), commands.enclave_command(account)
    assert option(enclave, "--proxy") == str(commands.proxy_address(account)) == proxy[3]
    assert option(commands.instance_arguments(account), "--enclave") == option(enclave, "--listen")
    assert proxy[4:] == ["127.0.0.1", str(account.kms_server.port)]


def test_enclave_is_the_one_that_the_key_trusts_unless_another_is_named(account: SimulatedAccount) -> None:
    assert option(commands.enclave_command(account), "--nsm") == str(account.enclave.nsm_address)
    other = commands.enclave_command(account, account.other_enclave)
    assert option(other, "--nsm") == str(account.other_enclave.nsm_address) != str(account.enclave.nsm_address)


def test_names_tell_tools_of_the_same_kind_apart(account: SimulatedAccount) -> None:
    proxy = commands.proxy_command(account, name="second-proxy", kms_port=4430)
    enclave = commands.enclave_command(account, name="second", proxy_name="second-proxy")
    assert option(enclave, "--proxy") == proxy[3] == f"unix:{account.directory}/second-proxy.sock"
    assert option(commands.instance_arguments(account, name="second"), "--enclave") == option(enclave, "--listen")
    assert proxy[-1] == "4430"


def test_enclave_trusts_the_authority_of_this_kms(account: SimulatedAccount) -> None:
    assert option(commands.enclave_command(account), "--ca-file") == str(account.ca_file)
    assert account.ca_file.read_bytes() == account.tls.ca_pem
