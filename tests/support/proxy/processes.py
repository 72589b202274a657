"""A running vsock-proxy, and the upstreams it leads to."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from vsock_wire.errors import TransportError
from vsock_wire.net.address import UnixAddress, VsockAddress
from vsock_wire.net.sockets import connect_socket, listen_socket

VSOCK_PROXY = str(Path(sys.executable).with_name("vsock-proxy"))
READY = "Proxy is now in listening state"
PATIENCE_S = 20.0
"""How long a test waits for one event on a busy machine before it gives up."""


class Proxy:
    """One vsock-proxy process; its log lines arrive as it writes them."""

    def __init__(
        self,
        *arguments: str,
        program: str = VSOCK_PROXY,
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.process = subprocess.Popen(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | dict(environment or {}),
            pass_fds=pass_fds,
        )
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                with self._news:
                    self._lines.append(line)
                    self._news.notify_all()

    @property
    def log(self) -> str:
        with self._news:
            return "".join(self._lines)

    def wait_for(self, text: str, *, times: int = 1, timeout_s: float = PATIENCE_S) -> str:
        """Wait for ``times`` log lines that contain ``text``, and return the last one."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while len(found := [line for line in self._lines if text in line]) < times:
                left_s = deadline - time.monotonic()
                assert left_s > 0, f"expected {times} x {text!r} in the log, got:\n{''.join(self._lines)}"
                self._news.wait(min(left_s, 1))
                assert self.process.poll() is None or self._reader.is_alive(), "".join(self._lines)
            return found[-1]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code: int = self.process.wait(PATIENCE_S)
        self._reader.join()
        return code

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def resident_kib(self) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("the process is gone")


class Upstream:
    """A TCP server on loopback. Each connection has a thread, and is closed when the thread or the server ends.

    Args:
        handle: serves one connection.
        host: where to listen.
        port: likewise; 0 for any free one.
        address: a unix or vsock address to listen on instead, as an enclave does.
    """

    def __init__(
        self,
        handle: Callable[[socket.socket], object],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        address: UnixAddress | VsockAddress | None = None,
    ) -> None:
        self._handle = handle
        self._address, self._is_closing = address, False
        if address is None:
            self._listener = socket.create_server((host, port), backlog=4096)
        else:
            self._listener = listen_socket(address, backlog=4096)
        self.port: int = self._listener.getsockname()[1] if address is None else port
        self._threads: list[threading.Thread] = []
        self._clients: list[socket.socket] = []
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closing = True
        if isinstance(self._address, VsockAddress):  # a shutdown does not wake accept on AF_VSOCK
            with contextlib.suppress(TransportError):
                connect_socket(self._address, timeout_s=PATIENCE_S).close()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(PATIENCE_S)
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            if self._is_closing:
                client.close()
                return
            thread = threading.Thread(target=self._serve, args=(client,))
            self._clients.append(client)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(PATIENCE_S)
            self._handle(client)


def echo(client: socket.socket) -> None:
    """Send everything back, then the end of the stream."""
    while data := client.recv(262_144):
        client.sendall(data)


def read_all(sock: socket.socket) -> bytes:
    """Read up to the end of the stream."""
    return b"".join(iter(lambda: sock.recv(262_144), b""))


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """Read ``count`` bytes."""
    data = bytearray()
    while len(data) < count:
        part = sock.recv(count - len(data))
        assert part, f"expected {count} bytes, got {len(data)}"
        data += part
    return bytes(data)


def ask(sock: socket.socket, message: bytes) -> bytes:
    """Send ``message`` to an echo and return as many bytes."""
    sock.sendall(message)
    return read_exactly(sock, len(message))


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """Yield a TCP port of 127.0.0.1 on which connections are refused, for as long as this lasts."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
