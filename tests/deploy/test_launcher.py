"""The launcher of an enclave, with a stand-in for nitro-cli; Kubernetes and systemd watch it as any other process."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

LAUNCHER = Path(__file__).parents[2] / "deploy/launcher/enclave-launcher.sh"
ENCLAVE = "i-0123456789abcdef0-enc0123456789abcdef"
TIMEOUT_S = 20.0
NITRO_CLI = f"""#!/bin/sh
echo "$@" >> "$FOLDER/calls"
case $1 in
run-enclave)
    [ ! -e "$FOLDER/refuses" ] || {{ echo "[ E26 ] Insufficient memory requested." >&2; exit 26; }}
    while [ -e "$FOLDER/is-slow" ]; do sleep 0.05; done
    touch "$FOLDER/runs"
    printf '{{\\n  "EnclaveName": "kmstool-enclave",\\n  "EnclaveID": "{ENCLAVE}",\\n  "EnclaveCID": 16\\n}}\\n' ;;
describe-enclaves)
    if [ -e "$FOLDER/runs" ]; then echo '[ {{ "EnclaveID": "{ENCLAVE}" }} ]'; else echo '[]'; fi ;;
terminate-enclave)
    rm "$FOLDER/runs" ;;
esac
"""


class Launcher:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "bin" / "nitro-cli"
        program.parent.mkdir()
        program.write_text(NITRO_CLI, "utf-8")
        program.chmod(0o755)
        self.environment = {
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            "FOLDER": str(folder),
            "POLL_S": "0.05",
            "EIF": "/an image.eif",
            "CID": "16",
        }

    def start(self, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [LAUNCHER],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text("utf-8").splitlines() if path.exists() else []

    def await_call(self, fits: Callable[[str], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not any(fits(call) for call in self.calls()):
            assert time.monotonic() < deadline, self.calls()
            time.sleep(0.01)


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    return Launcher(tmp_path)


def test_enclave_gets_what_the_environment_says(launcher: Launcher) -> None:
    process = launcher.start(CPUS="4", MEMORY="1024")
    launcher.await_call(lambda call: call == "describe-enclaves")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, err) == (0, "")
    assert out == f"enclave {ENCLAVE} runs with CID 16\n"
    assert launcher.calls()[0] == "run-enclave --eif-path /an image.eif --enclave-cid 16 --cpu-count 4 --memory 1024"


def test_it_is_terminated_with_its_launcher(launcher: Launcher) -> None:
    process = launcher.start()
    launcher.await_call(lambda call: call == "describe-enclaves")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert launcher.calls()[-1] == f"terminate-enclave --enclave-id {ENCLAVE}"
    assert not (launcher.folder / "runs").exists()


def test_enclave_that_was_still_starting_is_terminated_too(launcher: Launcher) -> None:
    (launcher.folder / "is-slow").touch()
    process = launcher.start()
    launcher.await_call(lambda call: call.startswith("run-enclave"))
    process.send_signal(signal.SIGTERM)
    (launcher.folder / "is-slow").unlink()
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert launcher.calls()[-1] == f"terminate-enclave --enclave-id {ENCLAVE}"
    assert not (launcher.folder / "runs").exists()


def test_end_of_the_enclave_is_that_of_its_launcher(launcher: Launcher) -> None:
    process = launcher.start()
    launcher.await_call(lambda call: call == "describe-enclaves")
    (launcher.folder / "runs").unlink()
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert f"error: enclave {ENCLAVE} has ended" in err


def test_refusal_of_nitro_cli_is_shown(launcher: Launcher) -> None:
    (launcher.folder / "refuses").touch()
    process = launcher.start()
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 26
    assert "Insufficient memory requested" in err


@pytest.mark.parametrize("name", ["EIF", "CID"])
def test_what_is_missing_is_named(launcher: Launcher, name: str) -> None:
    process = launcher.start(**{name: ""})
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2
    assert f"{name}: not set; set it to a" in err
    assert launcher.calls() == []
