"""Both peers of connections that a proxy in this process relays: clients, and upstreams reached without a network."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Awaitable
from contextlib import ExitStack
from typing import Self

from vsock_proxy.relay.arrival import RouteState
from vsock_proxy.relay.plan import Opening, SocketName, Target

_numbers = itertools.count()


class Peers:
    """Creates socket pairs, listens as the upstream, is a Planner, and closes all sockets at the end.

    Attributes:
        target: the upstream, for the proxy to dial.
        upstreams: the peers' ends of the connections that were dialled, in order; the test takes them.
        error: an error that ``plan`` raises instead of returning the target.
        gate: an event for which ``plan`` waits first; set unless a test clears it.
        is_asked: set once ``plan`` has been called.
        opening_of: makes the Opening of a client, if there is to be one.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._name = f"\0proxy-test-{os.getpid()}-{next(_numbers)}"
        self._listener = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        self._listener.bind(self._name)
        self._listener.listen(4_096)
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)
        self.target = Target("the upstream", ((socket.AF_UNIX, self._name),))
        self.upstreams: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_asked = asyncio.Event()
        self.not_connected: list[Target] = []
        self.requests: list[object] = []
        self.opening_of: type[Opening] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._stack.close()

    def _accept(self) -> None:
        upstream, _ = self._listener.accept()
        upstream.setblocking(False)
        self.upstreams.put_nowait(self._stack.enter_context(upstream))

    def opening(self, _state: RouteState) -> Opening | None:
        return None if self.opening_of is None else self.opening_of()

    def plan(self, _state: RouteState, _client: int, request: object | None) -> Target | Awaitable[Target]:
        self.is_asked.set()
        self.requests.append(request)
        if not self.gate.is_set():
            return self._plan_later()
        if self.error is not None:
            raise self.error
        return self.target

    async def _plan_later(self) -> Target:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.target

    def failed(self, _state: RouteState, target: Target) -> None:
        self.not_connected.append(target)

    def begin_to_connect(self, _name: SocketName) -> int:
        """Stand in for the function of this name: connects to the upstream, whatever the address."""
        if isinstance(self.error, OSError):
            raise self.error
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        sock.connect(self._name)
        return sock.detach()

    def pair(self) -> tuple[int, socket.socket]:
        """Return the proxy's end, a descriptor that the proxy closes, and the peer's end."""
        near, far = socket.socketpair()
        for sock in (near, far):
            sock.setblocking(False)
        self._stack.enter_context(far)
        return near.detach(), far

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
    """Return ``count`` bytes, or fewer where the stream ends before."""
    data = b""
    while len(data) < count and (part := await asyncio.get_running_loop().sock_recv(sock, count - len(data))):
        data += part
    return data
