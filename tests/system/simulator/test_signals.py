"""Signals to kmstool-sim: whenever they come, no process and no folder is left."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from nitro_simulator.deployment import processes
from nitro_simulator.deployment.supervision import ENDING_SIGNALS

COMMANDS = {"run": ("run", "sleep", "600"), "demo": ("demo",), "up": ("up",)}
MARK = "KMSTOOL_TEST_MARK"
EXIT_TIMEOUT_S = 60.0
"""A test that passes never waits this long."""
SEED = 18
PYTHON_STARTS = b"Fatal Python error: init_"
"""What Python prints about SIGINT in its first millisecond, before it looks for any of our files."""


class Started:
    """One kmstool-sim, whose processes and folders can be told from all others by its environment."""

    def __init__(self, folder: Path, command: tuple[str, ...]) -> None:
        self.mark = uuid.uuid4().hex
        self.folder = folder
        self.process = subprocess.Popen(
            [processes.tool_path("kmstool-sim"), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=processes.clean_environment({MARK: self.mark, "TMPDIR": str(folder)}),
        )

    def others(self) -> list[str]:
        """Return the command lines of its processes other than the first."""
        return [line for pid, line in self._marked() if pid != self.process.pid]

    def end(self, number: int) -> tuple[int, bytes]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=EXIT_TIMEOUT_S)
        return self.process.returncode, errors

    def left(self) -> tuple[list[str], list[str]]:
        """Return the processes and the entries of the folder that are left."""
        return [line for _, line in self._marked()], [path.name for path in self.folder.iterdir()]

    def _marked(self) -> Iterator[tuple[int, str]]:
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    environment, line = entry.joinpath("environ").read_bytes(), entry.joinpath("cmdline").read_bytes()
                except OSError:
                    continue
                if self.mark.encode() in environment:
                    yield int(entry.name), line.replace(b"\0", b" ").decode()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder with a path short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="s-"))
    yield path
    shutil.rmtree(path)


def wait_for(started: Started, name: str) -> None:
    """Wait until one of its processes has ``name`` in its command line."""
    while not any(name in line for line in started.others() if "kmstool-sim" not in line):
        assert started.process.poll() is None, started.process.communicate()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def start_s() -> float:
    """Return how long ``kmstool-sim run`` takes to start everything, here and now."""
    path = Path(tempfile.mkdtemp(prefix="s-"))
    before = time.monotonic()
    started = Started(path, COMMANDS["run"])
    wait_for(started, "sleep 600")
    taken = time.monotonic() - before
    started.end(signal.SIGTERM)
    path.rmdir()
    return taken


@pytest.mark.parametrize("turn", range(20))
def test_signal_at_a_random_moment_leaves_nothing(turn: int, folder: Path, start_s: float) -> None:
    number = sorted(ENDING_SIGNALS)[turn % 3]
    name = ("run", "demo", "run", "up")[turn % 4]
    delay_s = random.Random(f"{SEED} {turn}").uniform(0, 1.2 * start_s)  # noqa: S311 - no secret depends on it
    started = Started(folder, COMMANDS[name])
    time.sleep(delay_s)
    code, errors = started.end(number)
    told = f"{name}, {signal.Signals(number).name} after {delay_s:.3f} s"
    assert started.left() == ([], []), told
    if errors.startswith(PYTHON_STARTS):
        return
    assert errors == b"", told
    assert code in (128 + number, -number, 0), told


@pytest.mark.parametrize("number", sorted(ENDING_SIGNALS), ids=lambda number: signal.Signals(number).name)
def test_running_program_is_ended_with_all_that_it_started(number: int, folder: Path) -> None:
    """The program's own child ignores everything but SIGKILL and has left its session."""
    child = "trap '' TERM HUP INT; while :; do sleep 601; done"
    started = Started(folder, ("run", "sh", "-c", f'setsid sh -c "{child}" & sleep 602; :'))
    for name in ("sleep 601", "sleep 602", "vsock-proxy", "kmstool-enclave"):
        wait_for(started, name)
    assert started.end(number) == (128 + number, b"")
    assert started.left() == ([], [])


def test_program_that_ignores_sigterm_is_killed(folder: Path) -> None:
    started = Started(folder, ("run", "sh", "-c", "trap '' TERM; while :; do sleep 603; done"))
    wait_for(started, "sleep 603")
    assert started.end(signal.SIGTERM)[0] == 128 + signal.SIGTERM
    assert started.left() == ([], [])


def test_second_signal_does_not_disturb_the_end(folder: Path) -> None:
    started = Started(folder, COMMANDS["run"])
    wait_for(started, "sleep 600")
    started.process.send_signal(signal.SIGHUP)
    assert started.end(signal.SIGINT)[0] == 128 + signal.SIGHUP
    assert started.left() == ([], [])


def test_killed_worker_leaves_nothing_either(folder: Path) -> None:
    started = Started(folder, COMMANDS["run"])
    wait_for(started, "sleep 600")
    (worker,) = (pid for pid, line in started._marked() if "kmstool-sim" in line and pid != started.process.pid)
    os.kill(worker, signal.SIGKILL)
    started.process.communicate(timeout=EXIT_TIMEOUT_S)
    assert started.process.returncode == 128 + signal.SIGKILL
    assert started.left() == ([], [])


def test_exit_code_is_that_of_the_program_and_its_background_processes_go_on(folder: Path) -> None:
    started = Started(folder, ("run", "sh", "-c", "sleep 60 >/dev/null 2>&1 & exit 7"))
    _, errors = started.process.communicate(timeout=EXIT_TIMEOUT_S)
    assert (started.process.returncode, errors) == (7, b"")
    lines, entries = started.left()
    assert (lines, entries) == (["sleep 60 "], [])
