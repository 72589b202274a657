"""Runs a command of kmstool-sim so that no process and no folder is left after a signal.

A signal can arrive at any moment: while a temporary folder is made, between the start of a process and the line that
remembers it, or while everything is being stopped. So the work is done in a child process, the worker, and this process
only waits. It blocks the signals and takes them with ``sigwait``, so none interrupts it. After a signal it

1. asks the worker to end, which stops what it has started in order;
2. kills the worker if that takes longer than GRACE_S;
3. kills every process that is left. This process is a subreaper: whatever loses its parent becomes its child;
4. removes the folder.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

ENDING_SIGNALS = frozenset(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
GRACE_S = 10.0
"""How long the worker may take to stop what it has started. The proxy and the enclave stop within a second."""
PROGRAM_GRACE_S = 3.0
"""How long the program of ``kmstool-sim run`` may take to end after SIGTERM."""
SIGNAL_EXIT_BASE = 128
"""A shell shows a process that a signal ended as this plus the signal's number."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
"""Source: prctl(2), <linux/prctl.h>."""


def run_supervised(work: Callable[[Path], int], *, directory: Path | None = None) -> int:
    """Call ``work`` in a child process, and return its exit code when nothing of it is left.

    Returns twice: in the child, with what ``work`` returns, and here. Must be called before any thread starts.

    Args:
        work: takes the folder for its files; returns an exit code.
        directory: that folder; None makes one and removes it at the end.
    """
    if sys.platform != "linux":  # only Linux has subreapers; elsewhere a signal can leave processes
        return _run_unsupervised(work, directory)
    signal.pthread_sigmask(signal.SIG_BLOCK, {*ENDING_SIGNALS, signal.SIGCHLD})
    _set_process_attribute(_PR_SET_CHILD_SUBREAPER, 1)
    folder = _folder(directory)
    worker = os.fork()
    if worker == 0:
        _become_worker(folder)
        return work(folder)
    try:
        return _await_worker(worker)
    finally:
        if directory is None:
            shutil.rmtree(folder, ignore_errors=True)


def _run_unsupervised(work: Callable[[Path], int], directory: Path | None) -> int:
    folder = _folder(directory)
    try:
        return work(folder)
    finally:
        if directory is None:
            shutil.rmtree(folder, ignore_errors=True)


def _folder(directory: Path | None) -> Path:
    return Path(tempfile.mkdtemp(prefix="kmstool-")) if directory is None else directory


def run_to_end(program: tuple[str, ...], environment: dict[str, str]) -> int:
    """Run a program, and return its exit code as a shell shows it; end it if this process is told to end.

    Raises:
        OSError: it cannot be started.
    """
    process = subprocess.Popen(program, env=environment)
    try:
        return _as_shell_shows(process.wait())
    except BaseException:
        process.terminate()
        try:
            process.wait(PROGRAM_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


def _become_worker(folder: Path) -> None:
    """Turn signals into SystemExit, also the one that tells that the supervisor is gone; put temporary files there."""
    tempfile.tempdir = str(folder)
    _set_process_attribute(_PR_SET_PDEATHSIG, signal.SIGTERM)
    for ending in ENDING_SIGNALS:
        signal.signal(ending, _end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*ENDING_SIGNALS, signal.SIGCHLD})


def _end(number: int, _frame: FrameType | None) -> None:
    for ending in ENDING_SIGNALS:  # not SIG_IGN, which the programs started here would inherit
        signal.signal(ending, lambda *_: None)
    raise SystemExit(SIGNAL_EXIT_BASE + number)


def _await_worker(worker: int) -> int:
    """Wait until the worker has ended by itself or because of a signal; return this program's exit code."""
    received: int | None = None
    deadline = float("inf")
    while True:
        taken = _take_signal(deadline - time.monotonic())
        if taken is None:
            os.kill(worker, signal.SIGKILL)
            deadline = float("inf")
        elif taken != signal.SIGCHLD and received is None:
            received, deadline = taken, time.monotonic() + GRACE_S
            os.kill(worker, signal.SIGTERM)
        ended, status = os.waitpid(worker, os.WNOHANG)
        if ended:
            break
    code = os.waitstatus_to_exitcode(status)
    if received is not None or code < 0:
        _kill_descendants()
    return SIGNAL_EXIT_BASE + received if received is not None else _as_shell_shows(code)


def _take_signal(timeout_s: float) -> int | None:
    """Return the next of the blocked signals, or None if none arrives in time."""
    awaited = {*ENDING_SIGNALS, signal.SIGCHLD}
    if timeout_s == float("inf"):
        return signal.sigwait(awaited)
    taken = signal.sigtimedwait(awaited, max(0.0, timeout_s))
    return None if taken is None else taken.si_signo


def _kill_descendants() -> None:
    """Kill the children of this process until it has none; those of a killed one become children of this process."""
    while True:
        for child in _children():
            os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> Iterator[int]:
    """Yield the processes whose parent is this one, ended ones included. Source: proc_pid_stat(5)."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            after_name = entry.joinpath("stat").read_text("utf-8", "replace").rpartition(")")[2]
        except OSError:  # it has just ended
            continue
        if int(after_name.split()[1]) == os.getpid():
            yield int(entry.name)


def _set_process_attribute(attribute: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(attribute, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {attribute}: {os.strerror(ctypes.get_errno())}")


def _as_shell_shows(returncode: int) -> int:
    return returncode if returncode >= 0 else SIGNAL_EXIT_BASE - returncode
