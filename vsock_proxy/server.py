"""The proxy itself: routes, the allowlist, and changing both while connections stay open.

How it works. ``apply`` opens a Listener for each new route and has the loop watch it. Each client that waits there goes
to Connections, which asks the Router where the client's route leads. The Router keeps those addresses of the
destination that the allowlist permits; Connections does the rest. ``apply`` is called at startup and at each reload;
``drain`` or ``stop`` is called once, at the end.

Why it is built this way. The allowlist is checked at connect time and against addresses, because a name may resolve
differently after the configuration was loaded. ``apply`` first does everything that can fail and only then changes
state, so that a reload either succeeds or leaves the old rules and listeners untouched; where a new address overlaps
one that goes, the old one is closed first, and opened again if something fails. Routes and rules are looked up when
a client connects and never stored with a connection, so that a reload cannot disturb an open one. Everything runs in
one thread, so none of this needs a lock.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
from collections.abc import Callable, Iterable, Mapping

from vsock_proxy.config.listening import ListenKey, listen_keys, overlap
from vsock_proxy.config.model import Config
from vsock_proxy.config.source import DEFAULT_CONFIG_PATH
from vsock_proxy.dial.enclaves import EnclaveFinder
from vsock_proxy.dial.resolver import Resolver
from vsock_proxy.errors import AwsText
from vsock_proxy.listener import BACKLOG, Acceptor, Listener, Reserve
from vsock_proxy.logs import Event, log_event
from vsock_proxy.relay.arrival import RouteState
from vsock_proxy.relay.connections import Connections
from vsock_proxy.relay.loop import RelayLoop
from vsock_proxy.relay.outcomes import Refusal
from vsock_proxy.relay.router import Router
from vsock_proxy.settings import Limits
from vsock_wire.errors import ToolError
from vsock_wire.net.address import Address

LISTENERS_PER_TURN = 32
"""Most listeners opened before the relay has its turn: each costs 0.1 ms."""

logger = logging.getLogger(__name__)


class ProxyServer:
    """Serves the configuration last given to ``apply``, until ``drain`` or ``stop``; for use inside one event loop.

    Args:
        loop: the loop that asyncio runs on.
        limits: number of connections, and timeouts.
        resolver: finds the addresses of the routes' host names; the server closes it.
        inherited: listening sockets that are already open, by address, for routes that listen there.
        file: the config file, for hints.
        enclaves: finds enclaves by name; by default with nitro-cli.
        log: takes each connection's report.
    """

    def __init__(
        self,
        loop: RelayLoop,
        limits: Limits,
        resolver: Resolver,
        *,
        inherited: Mapping[Address, socket.socket] | None = None,
        file: object = DEFAULT_CONFIG_PATH,
        enclaves: EnclaveFinder | None = None,
        log: Callable[[int, Event], None] = log_event,
    ) -> None:
        self._loop = loop
        self._resolver = resolver
        self._inherited = dict(inherited or {})
        self._router = Router(limits, resolver, file=file, enclaves=enclaves or EnclaveFinder())
        self._acceptors: dict[ListenKey, Acceptor] = {}
        self._states: dict[ListenKey, RouteState] = {}
        self._reserve = Reserve()
        self.connections = Connections(loop, limits, self._router, log=log)

    async def apply(self, config: Config) -> None:
        """Serve ``config`` from now on; open connections continue, also while many listeners are opened.

        Raises:
            TransportError: the address of a new route cannot be bound; everything stays as it was.
        """
        routes = listen_keys(config.routes)
        going = self._acceptors.keys() - routes.keys()
        opened = await self._open_listeners([key for key in routes if key not in self._acceptors], going)
        for key in going & self._acceptors.keys():
            self._stop_listening(key)
        self._router.apply(config)
        self._states = {key: self.connections.state_of(route) for key, route in routes.items()}
        self.connections.divide(self._states.values(), len(routes))
        acceptors = {key: self._acceptor(key, listener) for key, listener in opened.items()}
        self._acceptors |= acceptors
        for number, (key, acceptor) in enumerate(acceptors.items(), 1):
            acceptor.start()
            logger.info("%s: %s -> %s", AwsText.LISTENING, acceptor.listener.address, routes[key].destination)
            if number % LISTENERS_PER_TURN == 0:
                await asyncio.sleep(0)

    async def verify(self, config: Config) -> None:
        """Check that the allowlist permits the routes of ``config``, by DNS where that is needed.

        Raises:
            NotAllowedError: it does not permit one of them.
        """
        await self._router.verify(config)

    def abort(self) -> None:
        """End all connections now, but keep accepting new ones."""
        self.connections.abort()

    async def drain(self) -> None:
        """Stop accepting, and give open connections until the drain timeout to finish."""
        for key in tuple(self._acceptors):
            self._stop_listening(key)
        await self.connections.drain()
        await self._close()

    async def stop(self) -> None:
        """Stop accepting, and end all connections now; nobody else is admitted."""
        for acceptor in self._acceptors.values():
            acceptor.close()
        self._acceptors.clear()
        self.connections.abort()
        await self.connections.drain()
        await self._close()

    # listeners

    async def _open_listeners(self, keys: list[ListenKey], going: Iterable[ListenKey]) -> dict[ListenKey, Listener]:
        opened: dict[ListenKey, Listener] = {}
        closed_first: list[ListenKey] = []
        try:
            for number, key in enumerate(keys, 1):
                for other in going:
                    if other in self._acceptors and overlap(key.address, other.address):
                        self._stop_listening(other)
                        closed_first.append(other)
                opened[key] = Listener(key.address, self._inherited.pop(key.address, None))
                if number % LISTENERS_PER_TURN == 0:
                    await asyncio.sleep(0)
        except BaseException:
            for listener in opened.values():
                listener.close()
            self._listen_again(closed_first)
            raise
        return opened

    def _listen_again(self, keys: list[ListenKey]) -> None:
        for key in keys:
            try:
                self._acceptors[key] = acceptor = self._acceptor(key, Listener(key.address))
                acceptor.start()
            except ToolError as error:
                logger.error("%s", error)  # noqa: TRY400 - the text says it all

    def _acceptor(self, key: ListenKey, listener: Listener) -> Acceptor:
        return Acceptor(
            self._loop,
            listener,
            self._reserve,
            admit=functools.partial(self._admit, key),
            refused=functools.partial(self._refused, key),
            call_later=asyncio.get_running_loop().call_later,
        )

    def _stop_listening(self, key: ListenKey) -> None:
        acceptor = self._acceptors.pop(key)
        if not acceptor.listener.is_inherited:  # else they wait for the next process
            acceptor.accept(BACKLOG + 1)  # from their own view, clients that wait are connected
        acceptor.close()
        logger.info("no longer listening: %s", acceptor.listener.address)

    def _admit(self, key: ListenKey, number: int, peer: str) -> None:
        self.connections.admit(number, peer, self._states[key])

    def _refused(self, key: ListenKey) -> None:
        self.connections.refuse(
            "a client", self._states[key], Refusal.NO_DESCRIPTOR, "out of file descriptors or memory"
        )

    async def _close(self) -> None:
        await self._resolver.close()
        self._reserve.close()
