"""Shell commands that use a simulated account, for ``kmstool-sim up`` to print."""

from __future__ import annotations

import shlex
import shutil

from nitro_simulator.account import KEY_ALIAS, SimulatedAccount
from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment.processes import tool_path
from vsock_wire.protocol.json_codec import encode_base64

SAMPLE_PLAINTEXT = b"a secret that only the enclave may see"
"""What the printed kmstool-instance command decrypts."""


def pasteable_commands(account: SimulatedAccount) -> list[tuple[str, str]]:
    """Return a title and a shell line per command; one of them decrypts SAMPLE_PLAINTEXT under the account's key."""
    ciphertext_b64 = encode_base64(account.key.seal(SAMPLE_PLAINTEXT))
    instance = ["kmstool-instance", *commands.instance_arguments(account), ciphertext_b64]
    credentials = " ".join(f"{name}={value}" for name, value in account.imds_environment.items())
    return [
        ("in a second terminal, start the parent instance's proxy:", _shell_line(commands.proxy_command(account))),
        ("in a third, start the enclave:", _shell_line(commands.enclave_command(account))),
        ("in a fourth, decrypt from the parent instance:", f"{credentials} {_shell_line(instance)}"),
        ("use the same KMS from the AWS command line:", f"{credentials} {_aws_command(account)}"),
    ]


def _shell_line(command_line: list[str]) -> str:
    """Return a command line that starts this installation's program, whatever else is in PATH under that name."""
    name, own_path = command_line[0], tool_path(command_line[0])
    return shlex.join([name if shutil.which(name) == own_path else own_path, *command_line[1:]])


def _aws_command(account: SimulatedAccount) -> str:
    return (
        f"AWS_CA_BUNDLE={account.ca_file} aws kms encrypt --region {account.region}"
        f" --endpoint-url {account.kms_endpoint_url} --key-id {KEY_ALIAS}"
        " --plaintext fileb:///etc/hostname --query CiphertextBlob --output text"
    )
