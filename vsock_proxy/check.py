"""``vsock-proxy check``: shows what a configuration allows and whether its routes work from this machine."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import click

from vsock_proxy.config.allowlist import Allowlist, AnyLabel, ExactName
from vsock_proxy.config.destination import Destination, parse_destination
from vsock_proxy.config.enclaves import NamedEnclave
from vsock_proxy.config.hints import china_hint
from vsock_proxy.config.model import AskedByClient, Config, Route
from vsock_proxy.dial.connect import connect_upstream
from vsock_proxy.dial.enclaves import EnclaveFinder
from vsock_proxy.dial.permission import Permissions
from vsock_proxy.dial.resolver import Resolver
from vsock_proxy.errors import DialError, ProxyError
from vsock_proxy.options import ROUTE_OPTIONS, parse_check_settings
from vsock_proxy.settings import CONNECT_TIMEOUT_S, CheckSettings
from vsock_wire.cli.shared_options import with_options
from vsock_wire.errors import TransportError
from vsock_wire.net.address import UnixAddress, VsockAddress
from vsock_wire.net.sockets import connect_socket

MAX_CHECKS = 16
"""Hosts of a CONNECT route that are tried at the same time."""


@click.command("check", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@with_options(ROUTE_OPTIONS)
def command(**options: Any) -> None:
    """Print what the configuration allows, then try each route.

    Resolves and connects to the destination of each route in turn, and stops
    at the first that fails. For a CONNECT route, tries every host that the
    allowlist names; one of them must answer. Does not listen, so it can run
    next to a proxy.

    \b
    Example:
      vsock-proxy check 8000 kms.us-east-1.amazonaws.com 443
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    settings = parse_check_settings(**options)
    click.echo(f"config {settings.source.file}")
    asyncio.run(check_config(settings.source.load(), settings))


async def check_config(config: Config, settings: CheckSettings, *, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
    """Print what ``config`` allows, then try its routes one by one.

    It does not listen, because a running proxy may already use the ports.

    Raises:
        ProxyError: a route does not work; later routes are not tried.
    """
    for warning in config.warnings:
        click.echo(f"warning: {warning}")
    for entry in config.allowlist.entries:
        hint = china_hint(entry.pattern.name) if isinstance(entry.pattern, ExactName) else None
        click.echo(f"allow {entry}" + (f" (warning: {hint})" if hint else ""))
    for enclave in config.enclaves.entries:
        click.echo(f"allow {enclave}")
    resolver = Resolver(settings.family)
    permissions = Permissions(resolver, file=settings.source.file_to_write)
    permissions.allowlist = config.allowlist
    try:
        for route in config.routes:
            checker = _RouteChecker(route, permissions, route.connect_timeout_s or timeout_s)
            await checker.check()
    finally:
        await resolver.close()


class _RouteChecker:
    """Tries one route, and prints what it finds."""

    def __init__(self, route: Route, permissions: Permissions, timeout_s: float) -> None:
        self._route = route
        self._permissions = permissions
        self._timeout_s = timeout_s

    async def check(self) -> None:
        match self._route.destination:
            case Destination() as destination:
                await self._check_destination(destination, uses_names=True)
            case AskedByClient():
                await self._check_hosts()
            case NamedEnclave() as enclave:
                address = await EnclaveFinder().find(enclave)
                self._print(str(address))
                await self._check_enclave(address)
            case VsockAddress() | UnixAddress() as address:
                await self._check_enclave(address)

    async def _check_destination(self, destination: Destination, *, uses_names: bool, name: str = "") -> None:
        addresses = await self._permissions.permitted(destination, timeout_s=self._timeout_s, uses_names=uses_names)
        self._print(f"{name}{', '.join(map(str, addresses))}")
        started_s = time.monotonic()
        with await connect_upstream(destination, addresses, timeout_s=self._timeout_s) as sock:
            host = sock.getpeername()[0]
        self._print(f"{name}ok, {host} answered in {_elapsed_ms(started_s)}")

    async def _check_hosts(self) -> None:
        """Try every host that the allowlist names; some need not answer, such as those of other partitions."""
        destinations = _named_destinations(self._permissions.allowlist)
        if not destinations:
            self._print("not tried: the allowlist names no single host")
        turns = asyncio.Semaphore(MAX_CHECKS)

        async def check_one(destination: Destination) -> ProxyError | None:
            async with turns:
                try:
                    await self._check_destination(destination, uses_names=False, name=f"{destination}: ")
                except ProxyError as error:
                    self._print(f"{destination}: failed: {error}")
                    return error
            return None

        errors = await asyncio.gather(*map(check_one, destinations))
        if destinations and None not in errors:
            raise DialError(f"route {self._route}: none of the {len(destinations)} hosts in the allowlist answers")

    async def _check_enclave(self, address: VsockAddress | UnixAddress) -> None:
        started_s = time.monotonic()
        try:
            sock = await asyncio.to_thread(connect_socket, address, timeout_s=self._timeout_s)
        except TransportError as error:
            raise DialError(str(error), hint=error.hint) from error
        sock.close()
        self._print(f"ok, {address} answered in {_elapsed_ms(started_s)}")

    def _print(self, text: str) -> None:
        click.echo(f"route {self._route}: {text}")


def _named_destinations(allowlist: Allowlist) -> list[Destination]:
    """Return the hosts that the list names one by one, in its order: no wildcards, no networks."""
    found = [
        parse_destination(str(entry.pattern.name if isinstance(entry.pattern, ExactName) else entry.pattern[0]), port)
        for entry in allowlist.entries
        for port in sorted(entry.ports)
        if isinstance(entry.pattern, ExactName)
        or (not isinstance(entry.pattern, AnyLabel) and entry.pattern.num_addresses == 1)
    ]
    return list(dict.fromkeys(found))


def _elapsed_ms(started_s: float) -> str:
    return f"{(time.monotonic() - started_s) * 1_000:.1f} ms"
