"""Misconfigurations of boto3's credential chain: none is taken for a bug, and each names provider and variable."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from instance_tool.credentials import chain
from instance_tool.credentials.chain import find_in_chain
from tests.support.instance.misconfigured_chains import CASES, HERE, P, process, write_files
from vsock_wire.errors import CredentialsError, ExitCode
from vsock_wire.protocol.messages import Credentials


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with files that no provider expects; the environment has no other settings."""
    write_files(tmp_path)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", HERE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def set_up(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], config: str) -> None:
    Path(os.environ["AWS_CONFIG_FILE"]).write_text(config)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", CASES)
def test_misconfiguration_is_an_error_that_names_provider_and_variable(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables, config, provider, variable, reason = CASES[name]
    set_up(monkeypatch, variables, config)
    with pytest.raises(CredentialsError) as caught:
        find_in_chain(None, os.environ)
    error = caught.value
    assert str(error).startswith(f"credential chain, {provider} ({variable}): ")
    assert (error.provider, error.variable, error.exit_code) == (provider, variable, ExitCode.NO_CREDENTIALS)
    assert reason in str(error)
    assert str(error).isprintable()
    for secret in ("theSecret", "theToken", "theKeysSecret"):
        assert secret not in f"{error} {error.hint}"


def test_profile_of_the_command_line_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, {}, process("true"))
    for profile, provider in (("p", "custom-process"), ("no", "settings")):
        with pytest.raises(CredentialsError, match=rf"^credential chain, {provider} \(--profile\): ") as caught:
            find_in_chain(profile, os.environ)
        assert caught.value.variable == "--profile"


def test_nothing_configured_gives_nothing() -> None:
    assert find_in_chain(None, os.environ) is None


class TestCredentialProcess:
    SCRIPT = """import json, sys
print(json.dumps({"Version": 1, "AccessKeyId": "AKIDPROC", "SecretAccessKey": "s", "SessionToken": sys.stdin.read()}))
"""

    def test_does_not_get_our_standard_input(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """With a batch, standard input has ciphertexts; the process would take them away."""
        script = folder / "script.py"
        script.write_text(self.SCRIPT)
        set_up(monkeypatch, P, process(f"{sys.executable} {script}"))
        read_end, write_end = os.pipe()
        os.write(write_end, b"theCiphertext")
        os.close(write_end)
        saved = os.dup(0)
        os.dup2(read_end, 0)
        try:
            found = find_in_chain(None, os.environ)
        finally:
            os.dup2(saved, 0)
        with io.FileIO(read_end) as rest:
            assert rest.readall() == b"theCiphertext"
        assert found is not None
        assert found.credentials == Credentials("AKIDPROC", "s", None)
        assert capfd.readouterr() == ("", "")

    def test_that_never_ends_is_killed(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        monkeypatch.setattr(chain, "PROCESS_TIMEOUT_S", 0.5)
        set_up(monkeypatch, P, process(f"sh -c 'echo $$ > {folder}/pid; exec sleep 1000'"))
        with pytest.raises(CredentialsError, match=r"printed nothing within 0\.5 s and was ended"):
            find_in_chain(None, os.environ)
        pid = int((folder / "pid").read_text())
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
        assert state.stdout.strip()[:1] in ("", "Z")
