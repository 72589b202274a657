"""Pre-forked workers: processes that share one listening socket and one recipient key, and are replaced when they die.

Python runs one thread at a time, so one process cannot use a second CPU for its decrypts. ``fork_workers`` must be
called after everything that a worker needs is loaded, the key is generated and the socket listens, but before any
thread starts:

- In a worker it returns, and the caller serves. The kernel gives each new connection to one of the waiting workers.
  Workers share no TLS connection. After a fork, OpenSSL and the kernel give each its own random numbers.
- In the supervisor it never returns. It waits for its children and replaces each worker that ends, at most once per
  second each. It does not serve clients itself.
- SIGTERM ends the supervisor. It closes the socket, passes SIGTERM on, and kills workers that do not end in time. If
  the supervisor dies, the kernel kills its workers (PR_SET_PDEATHSIG), so none of them outlives it.

A signal during a fork could reach a process that does not know yet which of the two it is. Signals are therefore
blocked until it does.
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
"""More than an enclave has CPUs; the limit keeps a typing mistake from forking a thousand processes."""
RESTART_PAUSE_S = 1.0
"""Minimum time between two starts of the same worker, so that one that cannot run does not keep the CPUs busy."""
STOP_MARGIN_S = 1.0
"""How long a worker gets to end after its requests in progress are finished or abandoned."""
_POLL_S = 0.05

_logger = logging.getLogger(__name__)


def fork_workers(count: int, listener: socket.socket, load: SharedLoad, *, drain_s: float) -> int:
    """Fork ``count`` workers, and return in each of them, with its number from 0.

    In the calling process this does not return. It starts a new worker for each one that ends, until a signal handler
    raises SystemExit, and then ends the workers. They never outlive this process, even if it is killed.

    Args:
        count: number of workers, 1 to MAX_WORKERS.
        listener: the socket that the workers serve; closed in this process when they have to end.
        load: the load of ``count`` workers; the count of a worker that ended is set to 0.
        drain_s: seconds that workers get to finish requests in progress before they must stop.
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
    """The workers of this process, by process ID; empty in a worker."""

    def __init__(self, load: SharedLoad) -> None:
        self._load = load
        self._workers: dict[int, int] = {}
        self._started_at: dict[int, float] = {}

    def replace_the_dead(self) -> int:
        """Replace each worker that ends; return in the new worker, with its number."""
        while True:
            number = self._await_death()
            self._load.set(number, 0)
            time.sleep(max(0.0, self._started_at[number] + RESTART_PAUSE_S - time.monotonic()))
            if self.start(number):
                return number

    def stop(self, timeout_s: float) -> None:
        """End all workers, and kill those that have not ended after ``timeout_s``."""
        _signal_all(self._workers, signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while self._workers and time.monotonic() < deadline:
            self._reap_ended()
            time.sleep(_POLL_S)
        _signal_all(self._workers, signal.SIGKILL)

    def start(self, number: int) -> bool:
        """Start worker ``number``; return True in the worker and False in the supervisor."""
        supervisor = os.getpid()
        # A signal right after the fork would find a worker that still takes itself for the supervisor.
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
            if number is not None:  # as the first process of an image, this one also inherits orphans
                _logger.warning("worker %d (pid %d) %s: starting another", number, pid, _end(status))
                return number

    def _reap_ended(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) > 0:
                self._workers.pop(pid, None)


def _become_worker(supervisor: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes; the supervisor sends SIGTERM
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
    """Handle SIGTERM: end the process in an orderly way."""
    raise SystemExit(0)
