"""The proxy itself: routes, the allowlist, and changing both while connections stay open.

How it works. ``apply`` opens a Listener for each new route and registers it with the event loop. When a listener is
readable, every waiting client goes to Connections, which calls back ``_connect`` with the client's route. ``_connect``
resolves the name, keeps the addresses that the allowlist permits, and dials those with ``connect_upstream``.
Connections does the rest. ``apply`` is called at startup and at each reload; ``drain`` is called once, at the end.

Why it is built this way. The allowlist is checked at connect time and against addresses, because a name may resolve
differently after the configuration was loaded. ``apply`` first does everything that can fail and only then changes
state, so that a reload either succeeds or leaves the old rules and listeners untouched. Routes and rules are looked up
when a client connects and never stored with a connection, so that a reload cannot disturb an open one. Everything runs
in one event loop, so none of this needs a lock.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping

from vsock_proxy.config.model import Config, Route
from vsock_proxy.config.source import DEFAULT_CONFIG_PATH
from vsock_proxy.dial.connect import connect_upstream
from vsock_proxy.dial.permission import Permissions
from vsock_proxy.dial.resolver import Resolver
from vsock_proxy.errors import AwsText, DialError
from vsock_proxy.listener import Listener
from vsock_proxy.relay.connections import Connections
from vsock_proxy.relay.outcomes import Refusal
from vsock_proxy.settings import Limits
from vsock_wire.net.address import Address

logger = logging.getLogger(__name__)


class ProxyServer:
    """Serves the configuration last given to ``apply``, until ``drain``; for use inside one event loop.

    Args:
        limits: number of connections, and timeouts.
        resolver: finds the addresses of the routes' host names; the server closes it.
        inherited: listening sockets that are already open, by address, for routes that listen there.
        file: the config file, for hints.
    """

    def __init__(
        self,
        limits: Limits,
        resolver: Resolver,
        *,
        inherited: Mapping[Address, socket.socket] | None = None,
        file: object = DEFAULT_CONFIG_PATH,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._resolver = resolver
        self._permissions = Permissions(resolver, file=file)
        self._inherited = dict(inherited or {})
        self._listeners: dict[Address, Listener] = {}
        self._routes: dict[Address, Route] = {}
        self.connections = Connections(limits, self._connect)

    def apply(self, config: Config) -> None:
        """Serve ``config`` from now on; open connections continue.

        Raises:
            TransportError: the address of a new route cannot be bound; everything stays as it was.
        """
        routes = {route.listen: route for route in config.routes}
        opened = self._open_listeners([address for address in routes if address not in self._listeners])
        for address in self._listeners.keys() - routes.keys():
            self._stop_listening(address)
        self._permissions.allowlist = config.allowlist
        self._routes = routes
        self._resolver.watch(_host_names(config))
        for address, listener in opened.items():
            self._listeners[address] = listener
            self._loop.add_reader(listener.sock, self._accept, address)
            logger.info("%s: %s -> %s", AwsText.LISTENING, listener.address, routes[address].destination)

    async def verify(self, config: Config) -> None:
        """Check that the allowlist permits the routes of ``config``, by DNS where that is needed.

        Raises:
            NotAllowedError: it does not permit one of them.
            ResolveError: a host does not resolve, without which that cannot be known.
        """
        self._permissions.allowlist = config.allowlist
        destinations = [route.destination for route in config.routes]
        await self._permissions.verify(destinations, timeout_s=self._limits.connect_timeout_s)

    def abort(self) -> None:
        """End all connections now, but keep accepting new ones."""
        self.connections.abort()

    async def drain(self) -> None:
        """Stop accepting, and give open connections until the drain timeout to finish."""
        for address in tuple(self._listeners):
            self._accept(address)  # from their own view, clients in the backlog are connected
            self._stop_listening(address)
        await self.connections.drain()
        await self._resolver.close()

    def _open_listeners(self, addresses: list[Address]) -> dict[Address, Listener]:
        opened: dict[Address, Listener] = {}
        try:
            for address in addresses:
                opened[address] = Listener(address, self._inherited.pop(address, None))
        except BaseException:
            for listener in opened.values():
                listener.close()
            raise
        return opened

    def _stop_listening(self, address: Address) -> None:
        listener = self._listeners.pop(address)
        self._loop.remove_reader(listener.sock)
        listener.close()
        logger.info("no longer listening: %s", listener.address)

    def _accept(self, address: Address) -> None:
        route = self._routes[address]
        for client, peer in self._listeners[address].accept():
            if client is None:
                self.connections.refuse(peer, route, Refusal.NO_DESCRIPTOR, "out of file descriptors or memory")
            else:
                self.connections.admit(client, peer, route)

    async def _connect(self, route: Route) -> socket.socket:
        """Connect to the destination of ``route``, under the current allowlist."""
        destination = route.destination
        permitted = await self._permissions.permitted(destination, timeout_s=self._limits.connect_timeout_s)
        try:
            return await connect_upstream(destination, permitted, timeout_s=self._limits.connect_timeout_s)
        except DialError:
            self._resolver.suspect(destination.host)
            raise


def _host_names(config: Config) -> set[str]:
    return {route.destination.host for route in config.routes if route.destination.address is None}
