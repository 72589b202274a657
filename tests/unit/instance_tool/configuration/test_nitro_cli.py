from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from instance_tool.configuration import nitro_cli
from instance_tool.configuration.enclave_choice import GivenEnclave, choose_enclave
from instance_tool.configuration.nitro_cli import find_enclave
from vsock_wire.errors import ExitCode, InputError
from vsock_wire.net.address import VsockAddress


def enclave(name: str, cid: int, **changes: Any) -> dict[str, Any]:
    """Return an entry of what nitro-cli prints."""
    return {
        "EnclaveName": name,
        "EnclaveID": f"i-0123456789abcdef0-enc{cid:016x}",
        "ProcessID": 4_711,
        "EnclaveCID": cid,
        "NumberOfCPUs": 2,
        "CPUIDs": [1, 3],
        "MemoryMiB": 512,
        "State": "RUNNING",
        "Flags": "NONE",
        **changes,
    }


Script = Callable[[str], None]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Return a function that makes a shell script stand in for nitro-cli."""
    path = tmp_path / "bin/nitro-cli"
    path.parent.mkdir()
    monkeypatch.setenv("PATH", f"{path.parent}:{os.defpath}")

    def write(commands: str) -> None:
        path.write_text(f'#!/bin/sh\n[ "$*" = describe-enclaves ] || exit 99\n{commands}\n')
        path.chmod(0o755)

    return write


@pytest.fixture
def shows(script: Script) -> Callable[..., None]:
    return lambda *entries: script(f"echo {shlex.quote(json.dumps(entries))}")


def refusal(name: str | None = None) -> InputError:
    with pytest.raises(InputError) as caught:
        find_enclave(name)
    assert caught.value.exit_code is ExitCode.USAGE
    assert "\n" not in str(caught.value)
    return caught.value


class TestOne:
    def test_is_the_default(self, shows: Callable[..., None]) -> None:
        shows(enclave("app", 16))
        assert find_enclave(None) == 16
        assert choose_enclave(GivenEnclave(), {}, lambda: None, port=3_000) == VsockAddress(16, 3_000)

    def test_is_found_by_name_or_id_among_several(self, shows: Callable[..., None]) -> None:
        shows(enclave("app", 16), enclave("other", 17))
        assert find_enclave("other") == 17
        assert find_enclave("i-0123456789abcdef0-enc0000000000000010") == 16
        given = GivenEnclave(enclave_name="app")
        assert choose_enclave(given, {"KMSTOOL_CID": "99"}, lambda: None, port=3_000) == VsockAddress(16, 3_000)

    def test_counts_only_if_it_is_running(self, shows: Callable[..., None]) -> None:
        shows(enclave("old", 16, State="TERMINATING"), enclave("app", 17), enclave("", 0, State="EMPTY"))
        assert find_enclave(None) == 17

    def test_warnings_of_nitro_cli_do_not_matter(self, script: Script) -> None:
        script(f"echo a warning >&2; echo {shlex.quote(json.dumps([enclave('app', 16)]))}")
        assert find_enclave(None) == 16


class TestOtherNumbers:
    def test_none_is_said_with_what_nitro_cli_hides(
        self, shows: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shows()
        monkeypatch.setattr(os, "geteuid", lambda: 1_000)
        error = refusal()
        assert str(error) == "no enclave is running here, as far as nitro-cli shows"
        assert "only enclaves of this user: try sudo" in (error.hint or "")
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert "nitro-cli run-enclave" in (refusal().hint or "")

    def test_several_are_listed(self, shows: Callable[..., None]) -> None:
        shows(enclave("app", 16), enclave("other\u202e", 17))
        error = refusal()
        assert str(error) == 'more than one enclave is running: "app" (CID 16), "other\\u202e" (CID 17)'
        assert error.hint == "choose one with --enclave-name or --cid"

    def test_many_are_listed_in_part(self, shows: Callable[..., None]) -> None:
        shows(*(enclave(f"app{cid}", cid) for cid in range(16, 40)))
        assert str(refusal()).endswith('"app23" (CID 23), ...')

    def test_two_of_one_name_are_told_apart_by_cid(self, shows: Callable[..., None]) -> None:
        shows(enclave("app", 16), enclave("app", 17))
        assert refusal("app").hint == "choose one with --cid"

    def test_unknown_name_is_said_with_those_that_there_are(self, shows: Callable[..., None]) -> None:
        shows(enclave("app", 16))
        assert str(refusal("apq")) == 'no enclave named "apq" is running: there is "app" (CID 16)'


class TestFaults:
    def test_missing_nitro_cli_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        error = refusal()
        assert str(error) == "--cid: missing"
        assert "nitro-cli, which would find the enclave, is not installed" in (error.hint or "")

    @pytest.mark.parametrize("words", ["[ E11 ] Permission denied (os error 13)", "Operation not permitted"])
    def test_missing_permission_is_said(self, script: Script, words: str) -> None:
        script(f"echo '{words}' >&2; echo 'For more details, see ...' >&2; exit 39")
        error = refusal()
        assert str(error) == f'nitro-cli describe-enclaves: "{words}"'
        assert (error.hint or "").startswith("run it with sudo, or join the group ne; or pass --cid")

    def test_other_failure_is_quoted(self, script: Script) -> None:
        script("printf 'it \\033[2J broke' >&2; exit 1")
        assert str(refusal()) == 'nitro-cli describe-enclaves: "it \\x1b[2J broke"'
        script("exit 7")
        assert str(refusal()) == 'nitro-cli describe-enclaves: "exit code 7"'

    @pytest.mark.parametrize(
        "output",
        ["", "null", "{}", "[1]", "[{}]", '[{"State": "RUNNING"}]', "[{'State': 1}]", '"x"', "[", "\\303(",
         json.dumps([enclave("app", 3)]), json.dumps([enclave("app", 16, EnclaveCID="16")])],
    )  # fmt: skip
    def test_other_output_is_said(self, script: Script, output: str) -> None:
        script(f"printf {shlex.quote(output)}")
        assert str(refusal()) == "nitro-cli describe-enclaves: printed something else than a list of enclaves"

    def test_endless_output_is_refused(self, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nitro_cli, "TIMEOUT_S", 60.0)
        script("yes")
        assert str(refusal()) == "nitro-cli describe-enclaves: printed more than 1048576 bytes"

    @pytest.mark.parametrize("commands", ["sleep 600", "sleep 600 & exit 0", "exec >&- 2>&-; sleep 600"])
    def test_silence_ends_at_the_deadline_and_leaves_no_process(
        self, script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, commands: str
    ) -> None:
        monkeypatch.setattr(nitro_cli, "TIMEOUT_S", 0.3)
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        script(f"exec 9>{fifo}; {commands}")
        with os.fdopen(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb") as lives:
            assert str(refusal()) == "nitro-cli describe-enclaves: no answer within 0.3 s"
            os.set_blocking(lives.fileno(), True)
            assert lives.read() == b""  # ends when no process has the other end

    def test_program_that_cannot_be_started_is_said(self, script: Script, tmp_path: Path) -> None:
        script("")
        (tmp_path / "bin/nitro-cli").write_text("#!/no/such/shell\n")
        assert str(refusal()).endswith("bin/nitro-cli: no such file or directory")
