"""Pre-forked workers: processes that share one listening socket and one recipient key, each replaced when it dies.

Python runs one thread at a time, so one process cannot use a second CPU for its decrypts. ``fork_workers`` is called
when all that a worker needs is loaded, the key is made and the socket listens, but before any thread runs:

- In a worker it returns, and the caller serves. The kernel gives each new connection to one of the workers that wait
  for it. They share no TLS connection; OpenSSL and the kernel give each its own random numbers after a fork.
- In the supervisor it never returns. It waits for children, and replaces each worker that ends, at most once a second
  each. It serves nobody itself.
- SIGTERM ends the supervisor, which closes the socket, passes SIGTERM on, and kills what does not end in time. A worker
  gets SIGKILL from the kernel when the supervisor dies (PR_SET_PDEATHSIG), so none is ever left alone.

A fork is the moment when signals go wrong: they are blocked until each side knows what it is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import time
from types import FrameType
from typing import NoReturn

from enclave_tool.delivery.supervisor import PR_SET_PDEATHSIG, prctl
from vsock_wire.rpc.shared_load import SharedLoad

MAX_WORKERS = 256
"""More than an enclave has CPUs, so that a slip of the hand does not fork a thousand processes."""
RESTART_PAUSE_S = 1.0
"""Least time between two starts of the same worker, so that one that cannot run does not keep the CPUs busy."""
STOP_MARGIN_S = 1.0
"""For a worker to end, once what was under way is finished or given up."""
_POLL_S = 0.05

_logger = logging.getLogger(__name__)


def fork_workers(count: int, listener: socket.socket, load: SharedLoad, *, drain_s: float) -> int:
    """Fork ``count`` workers, and return in each of them, with its number from 0.

    In the calling process this does not return: it starts a new worker for each that ends, until SystemExit, which the
    handler of a signal raises, ends the workers too. Workers never outlive it, even when it is killed.

    Args:
        count: how many workers, 1 to MAX_WORKERS.
        listener: what the workers will serve; closed here as soon as they are to end.
        load: of ``count`` workers; the count of one that has ended is set to 0.
        drain_s: seconds they get to finish what is under way, once they are told to stop.
    """
    supervisor = _Supervisor(load)
    try:
        for number in range(count):
            if supervisor.start(number):
                return number
        return supervisor.replace_the_dead()
    except SystemExit:
        listener.close()
        supervisor.stop(drain_s + STOP_MARGIN_S)
        raise


class _Supervisor:
    """The workers of this process, by process id; in a worker none."""

    def __init__(self, load: SharedLoad) -> None:
        self._load = load
        self._workers: dict[int, int] = {}
        self._started_at: dict[int, float] = {}

    def replace_the_dead(self) -> int:
        """Keep all workers running; return in a new one, with its number."""
        while True:
            number = self._await_death()
            self._load.set(number, 0)
            time.sleep(max(0.0, self._started_at[number] + RESTART_PAUSE_S - time.monotonic()))
            if self.start(number):
                return number

    def stop(self, timeout_s: float) -> None:
        """End all workers: at once those that are idle, by force those that need longer than ``timeout_s``."""
        _signal_all(self._workers, signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while self._workers and time.monotonic() < deadline:
            self._reap_ended()
            time.sleep(_POLL_S)
        _signal_all(self._workers, signal.SIGKILL)

    def start(self, number: int) -> bool:
        """Start worker ``number``; return whether this is it."""
        supervisor = os.getpid()
        # A signal between the fork and the lines behind it would find a worker that takes itself for the supervisor.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        try:
            pid = os.fork()
            if pid:
                self._workers[pid] = number
                self._started_at[number] = time.monotonic()
            else:
                self._workers.clear()
                _become_worker(supervisor)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid == 0

    def _await_death(self) -> int:
        while True:
            pid, status = os.wait()
            number = self._workers.pop(pid, None)
            if number is not None:  # as an image's first process this one also inherits others' children
                _logger.warning("worker %d (pid %d) %s: starting another", number, pid, _end(status))
                return number

    def _reap_ended(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) > 0:
                self._workers.pop(pid, None)


def _become_worker(supervisor: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the supervisor then sends SIGTERM
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:  # it died before the line above
        os.kill(os.getpid(), signal.SIGKILL)


def _signal_all(workers: dict[int, int], number: signal.Signals) -> None:
    for pid in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _end(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def exit_on_signal(_signal: int, _frame: FrameType | None) -> NoReturn:
    """End the process in order: the handler of SIGTERM."""
    raise SystemExit(0)
