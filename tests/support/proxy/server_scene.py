"""A proxy between unix sockets and fake upstreams, with the network around it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.support.proxy.peers import Peers, receive, send
from tests.support.proxy.skipping_loop import relay_loop
from vsock_proxy.config.config_file import parse_config
from vsock_proxy.config.destination import IpAddress
from vsock_proxy.config.model import Config
from vsock_proxy.dial.resolver import Resolver
from vsock_proxy.errors import ResolveError
from vsock_proxy.relay.outcomes import Refusal
from vsock_proxy.relay.plan import SocketName
from vsock_proxy.server import ProxyServer
from vsock_proxy.settings import AddressFamily, Limits
from vsock_wire.net.address import Address

INSIDE, OUTSIDE = ip_address("10.0.0.1"), ip_address("192.0.2.1")


class Network(Peers):
    """A fake of DNS and TCP: answers as the test says, and records what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.dialled: list[object] = []
        self.names: dict[str, tuple[IpAddress, ...]] = {"a.com": (INSIDE, OUTSIDE), "b.com": (OUTSIDE,)}
        self.asked: list[str] = []
        self.dns_gate = asyncio.Event()
        self.dns_gate.set()

    async def look_up(self, name: str, _family: AddressFamily) -> tuple[IpAddress, ...]:
        self.asked.append(name)
        await self.dns_gate.wait()
        if name not in self.names:
            raise ResolveError(f"DNS lookup failed: {name}")
        return self.names[name]

    def begin_to_connect(self, name: SocketName) -> int:
        self.dialled.append(name[1])
        return super().begin_to_connect(name)


class Scene:
    """A server, the network around it, and a folder for the sockets that it listens on."""

    def __init__(self, folder: Path, server: ProxyServer, network: Network, resolver: Resolver) -> None:
        self.folder = folder
        self.server = server
        self.network = network
        self.resolver = resolver

    def config(self, allowlist: str, **routes: str) -> Config:
        """Return a config that allows ``allowlist`` on port 443, and routes by the name of their socket."""
        lines = [f"- {{listen: 'unix:{self.folder}/{name}', address: {to}, port: 443}}" for name, to in routes.items()]
        return parse_config(
            "\n".join([f"allowlist: [{{address: {allowlist}, port: 443}}]", *(["routes:", *lines] if lines else [])]),
            source="test",
        )

    def config_on(self, *listens: str) -> Config:
        """Return a config with a route to a.com on each of these addresses."""
        lines = [f"- {{listen: '{listen}', address: a.com, port: 443}}" for listen in listens]
        return parse_config("\n".join(["allowlist: [{address: a.com, port: 443}]", "routes:", *lines]), source="test")

    def connect(self, name: str) -> socket.socket:
        return self.network.connect_client(str(self.folder / name))

    async def relay(self, name: str) -> tuple[socket.socket, socket.socket]:
        """Return a client and its upstream once the client's first bytes have arrived."""
        client = self.connect(name)
        await send(client, b"ping")
        upstream = await self.network.upstreams.get()
        assert await receive(upstream, 4) == b"ping"
        return client, upstream

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def refused(self, name: str, to: str) -> dict[Refusal, int]:
        return dict(self.server.connections.stats()[f"unix:{self.folder}/{name} -> {to}:443"].refused)


@asynccontextmanager
async def scene(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    limits: Limits | None = None,
    inherited: dict[Address, socket.socket] | None = None,
) -> AsyncIterator[Scene]:
    limits = limits or Limits(10, drain_timeout_s=0.1, idle_timeout_s=0)
    with Network() as network:
        monkeypatch.setattr("vsock_proxy.relay.dialling.begin_to_connect", network.begin_to_connect)
        resolver = Resolver(lookup=network.look_up)
        server = ProxyServer(relay_loop(), limits, resolver, inherited=inherited)
        try:
            yield Scene(folder, server, network, resolver)
        finally:
            server.abort()
            await server.drain()
        assert asyncio.all_tasks() == {asyncio.current_task()}
