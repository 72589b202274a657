"""Runs one program for ``enclave_tool.delivery.program``, and lets none of its processes outlive the run.

This is a separate script, started for each secret, and uses only the standard library. It becomes the reaper of all its
descendants, even of those that leave their process group or session, so it can find and kill every one. The secret does
not pass through it, but through a pipe that it holds open. It cannot contain a program that deliberately kills it.

Arguments: descriptor of the control socket, bytes of address space, maximum number of processes, then the program's
argv. Standard input and output are the program's. The supervisor ends the run when the other end of the control socket
closes. It writes one report to that socket: ``exited CODE UNREAD``, ``signaled NUMBER``, ``forked``, ``stopped`` or
``failed ERRNO``.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import select
import signal
import struct
import sys
import termios
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
"""Source of both: prctl(2), <linux/prctl.h>."""
COUNT_INTERVAL_MS = 50
"""Interval between two counts of the processes. The end of the program itself is noticed immediately."""
KILL_INTERVAL_MS = 5
LOWEST_PRIORITY = 19
"""nice(2): however many processes the program starts, those that count and kill them get the CPU first."""
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
"""The whole environment of the program."""


def main() -> None:
    """Run the program, kill all its processes, and report how it ended."""
    control, memory_bytes, most_processes = (int(argument) for argument in sys.argv[1:4])
    os.set_inheritable(control, False)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    wake_up = _wake_up_on_child()
    program, exec_errors = _start(sys.argv[4:], memory_bytes)
    outcome = _watch(program, control, wake_up, most_processes)
    _end_all(program, wake_up)
    failure = os.read(exec_errors, 16).decode("ascii")
    with contextlib.suppress(OSError):  # the other end may be closed
        os.write(control, (f"failed {failure}" if failure else outcome).encode("ascii"))


def _start(argv: list[str], memory_bytes: int) -> tuple[int, int]:
    """Return the program's process ID, and a pipe that has the errno if the program could not be started."""
    supervisor = os.getpid()
    read_end, write_end = os.pipe()
    program = os.fork()
    if program == 0:
        _become(argv, memory_bytes, supervisor, write_end)
    os.close(write_end)
    return program, read_end


def _become(argv: list[str], memory_bytes: int, supervisor: int, exec_errors: int) -> NoReturn:
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:  # it died before the line above
            os._exit(1)
        for number in signal.valid_signals():  # Python ignores SIGPIPE, and the server's parent may ignore others
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would contain the secret
        os.nice(LOWEST_PRIORITY)
        os.execve(argv[0], argv, ENVIRONMENT)  # noqa: S606 - no shell, and the path is fixed when the server starts
    except OSError as error:
        os.write(exec_errors, str(error.errno).encode("ascii"))
    finally:
        os._exit(127)


def _watch(program: int, control: int, wake_up: int, most_processes: int) -> str:
    """Wait until the program ends, starts too many processes, or must be stopped, and return which it was."""
    poller = select.poll()
    poller.register(control, select.POLLIN)
    poller.register(wake_up, select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in poller.poll(COUNT_INTERVAL_MS)]
        if control in ready:
            return "stopped"
        if wake_up in ready:
            os.read(wake_up, 512)
        # Do not reap it yet: its process ID must stay taken until its whole group has been killed.
        ended = os.waitid(os.P_PID, program, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None and ended.si_code == os.CLD_EXITED:
            return f"exited {ended.si_status} {_unread_bytes()}"
        if ended is not None:
            return f"signaled {ended.si_status}"
        if len(_descendants()) > most_processes:
            return "forked"


def _end_all(program: int, wake_up: int) -> None:
    """Kill the program's process group, then all other descendants of this process, until none is left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program, signal.SIGKILL)
    poller = select.poll()
    poller.register(wake_up, select.POLLIN)
    while True:
        for process in _descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if poller.poll(KILL_INTERVAL_MS):
            os.read(wake_up, 512)
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:  # no child is left, and so no descendant: orphans become children of this process
            return


def _descendants() -> set[int]:
    """Return the process IDs of all descendants of this process."""
    parents = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib alone would double the time this script takes to start
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - as above
                parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    found: set[int] = set()
    level = {os.getpid()}
    while level:
        level = {process for process, parent in parents.items() if parent in level} - found
        found |= level
    return found


def _unread_bytes() -> int:
    """Return how many bytes of the secret the program has not read from its standard input."""
    (unread,) = struct.unpack("i", fcntl.ioctl(0, termios.FIONREAD, struct.pack("i", 0)))
    return int(unread)


def _wake_up_on_child() -> int:
    """Return a descriptor that becomes readable when a child ends."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return read_end


def prctl(option: int, value: int) -> None:
    """Set one of the process attributes named above; raise OSError if the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main()
