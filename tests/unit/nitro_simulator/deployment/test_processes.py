from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nitro_simulator.deployment import processes
from nitro_simulator.errors import SimulatorError
from vsock_wire.net.address import UnixAddress

IGNORES_SIGTERM = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready'); sys.stdin.read()"


def test_clean_environment_has_nothing_that_misdirects_a_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "AWS_PROFILE",
        "BOTO_CONFIG",
        "REGION",
        "ENDPOINT",
        "PROXY_PORT",
        "https_proxy",
        "HTTPS_PROXY",
        "KEPT",
    ):
        monkeypatch.setenv(name, "the user's")
    environment = processes.clean_environment({"AWS_REGION": "eu-west-1", "EXTRA": "1"})
    assert {name: value for name, value in environment.items() if value == "the user's"} == {"KEPT": "the user's"}
    assert {name: value for name, value in environment.items() if name.startswith("AWS_")} == {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_REGION": "eu-west-1",
    }
    assert environment["EXTRA"] == "1"


def test_tool_is_the_one_installed_with_this_python() -> None:
    assert Path(processes.tool_path("vsock-proxy")).parent == Path(sys.executable).parent


def test_tool_that_exits_at_once_is_an_error_with_its_output(short_dir: Path) -> None:
    arguments = ["vsock-proxy", "--no-such-option"]
    with (
        pytest.raises(SimulatorError, match=r"^vsock-proxy: exited with code 2: vsock-proxy: error: no such option"),
        processes.running(arguments, listens_on=UnixAddress(str(short_dir / "s")), log_file=short_dir / "log"),
    ):
        pytest.fail("it is not running")


def test_tool_that_does_not_listen_in_time_is_an_error_and_is_stopped(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "START_TIMEOUT_S", 0.2)
    monkeypatch.setattr(processes, "tool_path", lambda _: sys.executable)
    pid_file = short_dir / "pid"
    program = f"import os, sys, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    with (
        pytest.raises(SimulatorError, match=r"^vsock-proxy: did not listen in time: "),
        processes.running(
            ["vsock-proxy", "-c", program], listens_on=UnixAddress(str(short_dir / "s")), log_file=short_dir / "log"
        ),
    ):
        pytest.fail("it is not listening")
    if pid_file.exists():  # otherwise it was stopped before it wrote the file
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid_file.read_text()), 0)


def test_tool_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_TIMEOUT_S", 0.1)
    command = [sys.executable, "-u", "-c", IGNORES_SIGTERM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert processes.Tool(command, process, tmp_path / "log").stop() == -signal.SIGKILL
