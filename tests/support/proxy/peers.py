"""Both peers of connections through a proxy in this process: clients, and upstreams that need no network."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from typing import Self


class Peers:
    """Creates socket pairs, keeps the peers' ends for the test, and closes all of them at the end.

    Attributes:
        upstreams: the peers' ends of the connections that ``connect`` made, in order; the test takes them.
        error: an error that ``connect`` raises instead of connecting.
        gate: an event for which ``connect`` waits first; set unless a test clears it.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.upstreams: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_asked = asyncio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Return the proxy's end, which the proxy closes, and the peer's end."""
        near, far = socket.socketpair()
        for sock in (near, far):
            sock.setblocking(False)
        self._stack.enter_context(far)
        return near, far

    async def connect(self, *_: object, **__: object) -> socket.socket:
        """Connect to an upstream that the test controls."""
        self.is_asked.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        near, far = self.pair()
        self.upstreams.put_nowait(far)
        return near

    def connect_client(self, path: str) -> socket.socket:
        """Connect to a unix socket; the proxy need not have accepted when this returns."""
        sock = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        sock.setblocking(False)
        sock.connect(path)
        return sock


async def send(sock: socket.socket, data: bytes) -> None:
    """Send all of ``data``."""
    await asyncio.get_running_loop().sock_sendall(sock, data)


async def receive(sock: socket.socket, count: int = 1) -> bytes:
    """Return ``count`` bytes, or fewer if the stream ends earlier."""
    data = b""
    while len(data) < count and (part := await asyncio.get_running_loop().sock_recv(sock, count - len(data))):
        data += part
    return data
