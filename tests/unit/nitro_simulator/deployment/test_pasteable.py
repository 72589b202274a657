from __future__ import annotations

import shlex
import shutil
from base64 import b64decode

import pytest

from nitro_simulator.account import SimulatedAccount
from nitro_simulator.deployment.pasteable import SAMPLE_PLAINTEXT, pasteable_commands
from nitro_simulator.deployment.processes import tool_path

TOOLS = ("vsock-proxy", "kmstool-enclave", "kmstool-instance")


def words(account: SimulatedAccount, number: int) -> list[str]:
    return shlex.split(pasteable_commands(account)[number][1])


def test_instances_command_has_the_sample_encrypted_under_the_accounts_key(account: SimulatedAccount) -> None:
    blob = b64decode(words(account, 2)[-1])
    opened = account.key.open(blob, algorithm="SYMMETRIC_DEFAULT", encryption_context={})
    assert opened == SAMPLE_PLAINTEXT


@pytest.mark.parametrize("is_in_path", [True, False])
def test_program_is_named_by_its_path_if_path_would_find_another(
    account: SimulatedAccount, monkeypatch: pytest.MonkeyPatch, is_in_path: bool
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: tool_path(name) if is_in_path else f"/usr/local/bin/{name}")
    shown = [words(account, 0)[0], words(account, 1)[0], words(account, 2)[1]]
    assert shown == (list(TOOLS) if is_in_path else [tool_path(name) for name in TOOLS])


def test_commands_that_need_credentials_name_the_metadata_service(account: SimulatedAccount) -> None:
    ((name, value),) = account.imds_environment.items()
    assert words(account, 2)[0] == words(account, 3)[0] == f"{name}={value}"
    assert f"AWS_CA_BUNDLE={account.ca_file}" in words(account, 3)
