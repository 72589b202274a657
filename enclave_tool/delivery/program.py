"""Pipes a secret through a program of the enclave image, and limits what that program can do."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from enclave_tool.delivery import supervisor as delivery_supervisor
from enclave_tool.delivery.policy import MAX_OUTPUT_BYTES, MAX_PROCESSES, MAX_PROGRAMS, Program
from enclave_tool.errors import DeliveryError
from vsock_wire.errors import InputError

KILL_TIMEOUT_S = 5.0
"""How long the supervisor gets to kill all its descendants, which takes milliseconds."""
READ_BYTES = 65_536
"""More than MAX_OUTPUT_BYTES, and as much as a pipe holds: after all processes are killed, one read gets everything."""
MAX_OUTCOME_BYTES = 64


class ProgramRunner:
    """Runs the program once for each secret. Threads can use it concurrently.

    The program gets the secret on standard input and nothing else: its argv is fixed, its environment is
    ``delivery_supervisor.ENVIRONMENT``, its standard error is discarded, and it inherits no descriptor of the server.
    It is part of the measured image and runs as the server's user. The limits protect against accidents, not against a
    malicious program.

    Args:
        program: the program and its limits.

    Raises:
        InputError: the program does not exist or is not executable.
    """

    def __init__(self, program: Program) -> None:
        path = Path(program.argv[0])
        if not path.is_file() or not os.access(path, os.X_OK):
            raise InputError(f"--deliver-exec: not an executable file: {path}")
        self._program = program
        self._turns = threading.BoundedSemaphore(MAX_PROGRAMS)

    def run(self, secret: bytes) -> bytes:
        """Return what the program writes to its standard output for ``secret``, at most MAX_OUTPUT_BYTES.

        When this returns or raises, no process of the run is left.

        Raises:
            DeliveryError: the program could not be started, did not end in time and with exit code 0, did not read the
                whole secret, wrote too much output, or started too many processes.
        """
        deadline = time.monotonic() + self._program.limits.time_s
        if not self._turns.acquire(timeout=self._program.limits.time_s):
            raise self._error(f"{MAX_PROGRAMS} other runs did not end in time", hint="try again later")
        try:
            return self._run(secret, deadline)
        finally:
            self._turns.release()

    def _run(self, secret: bytes, deadline: float) -> bytes:
        control, theirs = socket.socketpair()
        with control:
            with theirs:
                supervisor = self._start_supervisor(theirs)
            try:
                output, outcome = self._converse(supervisor, control, secret, deadline)
                self._check_outcome(outcome)
            finally:
                control.close()  # stops a run that is still in progress
                _await_end(supervisor)
        return output

    def _start_supervisor(self, control: socket.socket) -> subprocess.Popen[bytes]:
        limits = (control.fileno(), self._program.limits.memory_bytes, MAX_PROCESSES)
        script = [sys.executable, "-I", "-S", delivery_supervisor.__file__]
        try:
            return subprocess.Popen(
                [*script, *map(str, limits), *self._program.argv],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=(control.fileno(),),
                cwd="/",
                env=delivery_supervisor.ENVIRONMENT,
                start_new_session=True,
            )
        except OSError as error:
            raise self._error(f"cannot be started: {(error.strerror or str(error)).lower()}") from error

    def _converse(
        self, supervisor: subprocess.Popen[bytes], control: socket.socket, secret: bytes, deadline: float
    ) -> tuple[bytes, str]:
        """Write the secret, and return the output and the supervisor's report, sent after all processes are killed."""
        if supervisor.stdin is None or supervisor.stdout is None:
            raise ValueError("supervisor: expected pipes")
        output, unwritten = bytearray(), memoryview(secret)
        for pipe in (supervisor.stdin, supervisor.stdout):
            os.set_blocking(pipe.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(supervisor.stdout, selectors.EVENT_READ)
            selector.register(supervisor.stdin, selectors.EVENT_WRITE)
            selector.register(control, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select(max(0.0, deadline - time.monotonic()))]
                if supervisor.stdin in ready:
                    unwritten = _write_some(supervisor.stdin.fileno(), unwritten)
                    if not unwritten:
                        selector.unregister(supervisor.stdin)
                        supervisor.stdin.close()
                if supervisor.stdout in ready or control in ready:
                    output += _read_some(supervisor.stdout.fileno())
                if len(output) > MAX_OUTPUT_BYTES:
                    raise self._error(f"wrote more than {MAX_OUTPUT_BYTES} bytes of output")
                if control in ready:
                    return bytes(output), control.recv(MAX_OUTCOME_BYTES).decode("ascii", "replace")
                if time.monotonic() >= deadline:
                    raise self._error(f"did not end within {self._program.limits.time_s:g} s")

    def _check_outcome(self, outcome: str) -> None:
        match outcome.split():
            case ["exited", "0", "0"]:
                return
            case ["exited", "0", unread]:
                raise self._error(f"left {unread} bytes of the secret unread")
            case ["exited", code, _]:
                raise self._error(f"exited with code {code}", hint=self._died_hint())
            case ["signaled", number]:
                raise self._error(f"was killed by {_signal_name(int(number))}", hint=self._died_hint())
            case ["forked"]:
                raise self._error(f"started more than {MAX_PROCESSES} processes")
            case ["failed", number]:
                raise self._error(f"cannot be started: {os.strerror(int(number)).lower()}")
            case _:
                raise self._error("its supervisor did not report how it ended")

    def _died_hint(self) -> str:
        limits = self._program.limits
        return (
            f"it may use {limits.memory_bytes >> 20} MiB and {limits.time_s:g} s; it gets the secret on standard input"
            " and no environment, and its standard error is discarded"
        )

    def _error(self, text: str, *, hint: str | None = None) -> DeliveryError:
        return DeliveryError(f"program {self._program.name}: {text}", hint=hint)


def _write_some(descriptor: int, data: memoryview) -> memoryview:
    """Write some of ``data`` and return the rest, or nothing if the reader has closed the pipe."""
    try:
        return data[os.write(descriptor, data) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return data[:0]


def _read_some(descriptor: int) -> bytes:
    """Return what can be read without waiting, up to READ_BYTES."""
    try:
        return os.read(descriptor, READ_BYTES)
    except BlockingIOError:
        return b""


def _await_end(supervisor: subprocess.Popen[bytes]) -> None:
    """Wait until the supervisor has killed all its descendants and ended."""
    for pipe in (supervisor.stdin, supervisor.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    try:
        supervisor.wait(KILL_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
