"""Connections between socket pairs, and the peers on both sides."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.proxy.peers import Peers, receive, send
from tests.support.proxy.skipping_loop import relay_loop
from vsock_proxy.config.destination import parse_destination
from vsock_proxy.config.model import Route
from vsock_proxy.relay.connections import Connections
from vsock_proxy.relay.outcomes import RouteStats
from vsock_proxy.settings import Limits
from vsock_wire.net.address import UnixAddress

ROUTE = Route(UnixAddress("/a"), parse_destination("a.com", 443))
OTHER = Route(UnixAddress("/b"), parse_destination("b.com", 443))


class Scene:
    """Connections, and the peers on both sides."""

    def __init__(self, peers: Peers, connections: Connections) -> None:
        self.peers = peers
        self.connections = connections

    def admit(self, route: Route = ROUTE) -> socket.socket:
        """Hand over a client, and return its own end."""
        near, client = self.peers.pair()
        self.connections.admit(near, "a peer", self.connections.state_of(route))
        return client

    async def relay(self, route: Route = ROUTE) -> tuple[socket.socket, socket.socket]:
        """Return a client and its upstream once bytes have passed in both directions."""
        client = self.admit(route)
        await send(client, b"ping")
        upstream = await self.peers.upstreams.get()
        assert await receive(upstream, 4) == b"ping"
        await send(upstream, b"pong!")
        assert await receive(client, 5) == b"pong!"
        return client, upstream

    def stats(self, route: Route = ROUTE) -> RouteStats:
        return self.connections.stats()[str(route)]


@asynccontextmanager
async def scene(limits: Limits, *, waiting: int = 0) -> AsyncIterator[Scene]:
    with Peers() as peers:
        connections = Connections(relay_loop(), limits, peers)
        connections.divide([connections.state_of(route) for route in (ROUTE, OTHER)], 0)
        connections.max_waiting = waiting
        try:
            yield Scene(peers, connections)
        finally:
            connections.abort()
            await connections.drain()
        assert len(connections) == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
