"""Runs the project's tools as separate processes around a simulated account."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nitro_simulator.errors import SimulatorError
from vsock_wire.errors import TransportError
from vsock_wire.net.address import Address
from vsock_wire.net.sockets import connect_socket

START_TIMEOUT_S = 30.0
"""A tool listens within a second; a loaded machine may take longer to start Python."""
STOP_TIMEOUT_S = 15.0
RUN_TIMEOUT_S = 120.0
_POLL_S = 0.02


@dataclass(frozen=True)
class Tool:
    """A running server of the project.

    Attributes:
        arguments: its command line.
        process: the process.
        log_file: its standard output and standard error.
    """

    arguments: list[str]
    process: subprocess.Popen[bytes]
    log_file: Path

    def log(self) -> str:
        """Return its output so far."""
        return self.log_file.read_text("utf-8", "replace")

    def stop(self) -> int:
        """Stop it with SIGTERM, or by force if that takes too long; return its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def tool_path(name: str) -> str:
    """Return the path of one of the project's commands, as installed with this Python."""
    return str(Path(sys.executable).with_name(name))


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without the variables that AWS's tools or kmstool read, plus ``extra``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BOTO"))}
    for name in ("REGION", "ENDPOINT", "PROXY_PORT", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        kept.pop(name, None)
    no_files = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    return {**kept, **no_files, **extra}


@contextlib.contextmanager
def running(
    arguments: list[str], *, listens_on: Address, log_file: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Tool]:
    """Start a server of the project, wait until it accepts connections, and stop it at the end.

    Args:
        arguments: its command line, starting with the command's name.
        listens_on: where it will listen.
        log_file: takes its standard output and standard error.
        environment: variables to add to a clean environment.

    Raises:
        SimulatorError: it exited, or did not listen in time; the text includes its output.
    """
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [tool_path(Path(arguments[0]).name), *arguments[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=clean_environment(environment or {}),
        )
    tool = Tool(arguments, process, log_file)
    try:
        _await_listening(tool, listens_on)
        yield tool
    finally:
        if process.poll() is None:
            tool.stop()


def run_instance(
    arguments: list[str], *, environment: Mapping[str, str], stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run kmstool-instance until it exits, and capture its output.

    Args:
        arguments: those after the command's name.
        environment: variables to add to a clean environment.
        stdin: its standard input.
    """
    return subprocess.run(
        [tool_path("kmstool-instance"), *arguments],
        input=stdin,
        capture_output=True,
        env=clean_environment(environment),
        timeout=RUN_TIMEOUT_S,
        check=False,
    )


def _await_listening(tool: Tool, address: Address) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        if tool.process.poll() is not None:
            code = tool.process.returncode
            raise SimulatorError(f"{tool.arguments[0]}: exited with code {code}: {tool.log().strip()}")
        try:
            _probe(address)
            return
        except TransportError as error:
            if time.monotonic() > deadline:
                raise SimulatorError(f"{tool.arguments[0]}: did not listen in time: {tool.log().strip()}") from error
        time.sleep(_POLL_S)


def _probe(address: Address) -> None:
    sock = connect_socket(address, timeout_s=1.0)
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
