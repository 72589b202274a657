"""Decides where connections go: a fixed destination, what a client asks for by HTTP CONNECT, or an enclave.

The Router implements Planner. It answers at once where it can: addresses of fixed destinations are known, and the
Target of a plain route is kept until the rules or the addresses change. Otherwise it returns a coroutine that asks DNS
or nitro-cli first.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Iterable
from ipaddress import IPv4Address
from typing import cast

from vsock_proxy.config.destination import Destination, IpAddress
from vsock_proxy.config.enclaves import NamedEnclave
from vsock_proxy.config.model import AskedByClient, Config, Route
from vsock_proxy.dial.enclaves import EnclaveFinder
from vsock_proxy.dial.permission import Permissions
from vsock_proxy.dial.resolver import Resolver
from vsock_proxy.handshake.connect_answer import ESTABLISHED
from vsock_proxy.handshake.connect_opening import ConnectOpening
from vsock_proxy.handshake.proxy_header import encode_proxy_header
from vsock_proxy.relay.arrival import RouteState
from vsock_proxy.relay.plan import Opening, SocketName, Target
from vsock_proxy.settings import Limits
from vsock_wire.net.address import UnixAddress, VsockAddress


class Router:
    """Knows the rules, and where each route leads.

    Args:
        limits: the timeouts.
        resolver: finds the addresses of host names.
        file: the config file, for hints.
        enclaves: finds enclaves by name.
    """

    def __init__(self, limits: Limits, resolver: Resolver, *, file: object, enclaves: EnclaveFinder) -> None:
        self._limits = limits
        self._resolver = resolver
        self._enclaves = enclaves
        self._permissions = Permissions(resolver, file=file)

    def apply(self, config: Config) -> None:
        """Follow the rules of ``config`` from now on."""
        self._permissions.allowlist = config.allowlist
        self._resolver.watch({one.host for one in fixed_destinations(config.routes) if one.address is None})

    async def verify(self, config: Config) -> None:
        """Check that the allowlist permits the routes of ``config``, by DNS where that is needed.

        Raises:
            NotAllowedError: it does not permit one of them.
        """
        permissions = Permissions(self._resolver, file=self._permissions.file)
        permissions.allowlist = config.allowlist
        await permissions.verify(fixed_destinations(config.routes), timeout_s=self._limits.connect_timeout_s)

    def opening(self, state: RouteState) -> Opening | None:
        """See Planner."""
        return ConnectOpening() if isinstance(state.route.destination, AskedByClient) else None

    def plan(self, state: RouteState, client: int, request: object | None) -> Target | Awaitable[Target]:
        """See Planner."""
        match state.route.destination:
            case Destination() as destination:
                return self._plan_fixed(state, destination)
            case AskedByClient():
                return self._plan_asked(state, cast("Destination", request))
            case NamedEnclave() as enclave:
                known = self._enclaves.known(enclave)
                header = _header_for(state.route, client)
                return self._plan_named(enclave, header) if known is None else _enclave_target(enclave, known, header)
            case VsockAddress() | UnixAddress() as address:
                return _enclave_target(address, address, _header_for(state.route, client))

    def failed(self, state: RouteState, target: Target) -> None:
        """See Planner."""
        if target.host:
            self._resolver.suspect(target.host)
        elif isinstance(state.route.destination, NamedEnclave):
            self._enclaves.suspect()

    def _plan_fixed(self, state: RouteState, destination: Destination) -> Target | Awaitable[Target]:
        literal = destination.address
        addresses = (literal,) if literal is not None else self._resolver.known_addresses(destination.host)
        rules = self._permissions.allowlist
        if state.target is not None and state.target_for[0] is rules and state.target_for[1] == addresses:
            return state.target
        permitted = self._permissions.permitted_now(destination)
        if not permitted:
            return self._plan_later(destination, state.connect_timeout_s, uses_names=True)
        state.target, state.target_for = _target(destination, permitted), (rules, addresses)
        return state.target

    def _plan_asked(self, state: RouteState, destination: Destination) -> Target | Awaitable[Target]:
        permitted = self._permissions.permitted_now(destination)
        if permitted:
            return _target(destination, permitted, to_client=ESTABLISHED)
        return self._plan_later(destination, state.connect_timeout_s, uses_names=False, to_client=ESTABLISHED)

    async def _plan_later(
        self, destination: Destination, timeout_s: float, *, uses_names: bool, to_client: bytes = b""
    ) -> Target:
        permitted = await self._permissions.permitted(destination, timeout_s=timeout_s, uses_names=uses_names)
        return _target(destination, permitted, to_client=to_client)

    async def _plan_named(self, enclave: NamedEnclave, header: bytes) -> Target:
        return _enclave_target(enclave, await self._enclaves.find(enclave), header)


def fixed_destinations(routes: Iterable[Route]) -> list[Destination]:
    """Return the hosts and ports that the routes themselves name."""
    return [route.destination for route in routes if isinstance(route.destination, Destination)]


def socket_name(address: IpAddress, port: int) -> SocketName:
    """Return what ``connect`` takes for an address, without the files that ``getaddrinfo`` would read."""
    if isinstance(address, IPv4Address):
        return socket.AF_INET, (str(address), port)
    host, _, scope = str(address).partition("%")
    scope_id = int(scope) if scope.isdigit() else socket.if_nametoindex(scope) if scope else 0
    return socket.AF_INET6, (host, port, 0, scope_id)


def enclave_socket_name(address: VsockAddress | UnixAddress) -> SocketName:
    """Return what ``connect`` takes for an enclave."""
    if isinstance(address, UnixAddress):
        return socket.AF_UNIX, address.path
    return socket.AF_VSOCK, (address.cid, address.port)


def _target(destination: Destination, addresses: Iterable[IpAddress], *, to_client: bytes = b"") -> Target:
    names = tuple(socket_name(address, destination.port) for address in addresses)
    host = "" if destination.address is not None else destination.host
    return Target(str(destination), names, to_client=to_client, host=host)


def _enclave_target(name: object, address: VsockAddress | UnixAddress, header: bytes) -> Target:
    return Target(str(name), (enclave_socket_name(address),), to_upstream=header)


def _header_for(route: Route, client: int) -> bytes:
    if not route.sends_proxy_header:
        return b""
    sock = socket.socket(fileno=client)
    try:
        return encode_proxy_header(sock.getpeername(), sock.getsockname())
    except OSError:  # the client has left
        return encode_proxy_header(None, None)
    finally:
        sock.detach()
