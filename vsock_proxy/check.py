"""``vsock-proxy check``: shows what a configuration allows and whether its routes work from this machine."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import click

from vsock_proxy.config.allowlist import ExactName
from vsock_proxy.config.hints import china_hint
from vsock_proxy.config.model import Config, Route
from vsock_proxy.dial.connect import connect_upstream
from vsock_proxy.dial.permission import Permissions
from vsock_proxy.dial.resolver import Resolver
from vsock_proxy.options import ROUTE_OPTIONS, parse_check_settings
from vsock_proxy.settings import CONNECT_TIMEOUT_S, CheckSettings
from vsock_wire.cli.shared_options import with_options


@click.command("check", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@with_options(ROUTE_OPTIONS)
def command(**options: Any) -> None:
    """Print what the configuration allows, then try each route.

    Resolves and connects to the destination of each route in turn, and stops
    at the first that fails. Does not listen, so it can run next to a proxy.

    \b
    Example:
      vsock-proxy check 8000 kms.us-east-1.amazonaws.com 443
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    settings = parse_check_settings(**options)
    click.echo(f"config {settings.source.file}")
    asyncio.run(check_config(settings.source.load(), settings))


async def check_config(config: Config, settings: CheckSettings, *, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
    """Print what ``config`` allows, then resolve and dial its routes one by one.

    It does not listen, because a running proxy may already use the ports.

    Raises:
        ProxyError: a route does not work; later routes are not tried.
    """
    for warning in config.warnings:
        click.echo(f"warning: {warning}")
    for entry in config.allowlist.entries:
        hint = china_hint(entry.pattern.name) if isinstance(entry.pattern, ExactName) else None
        click.echo(f"allow {entry}" + (f" (warning: {hint})" if hint else ""))
    resolver = Resolver(settings.family)
    permissions = Permissions(resolver, file=settings.source.file_to_write)
    permissions.allowlist = config.allowlist
    try:
        for route in config.routes:
            await _check_route(route, permissions, timeout_s)
    finally:
        await resolver.close()


async def _check_route(route: Route, permissions: Permissions, timeout_s: float) -> None:
    addresses = await permissions.permitted(route.destination, timeout_s=timeout_s)
    click.echo(f"route {route}: {', '.join(map(str, addresses))}")
    started_s = time.monotonic()
    sock = await connect_upstream(route.destination, addresses, timeout_s=timeout_s)
    with sock:
        host = sock.getpeername()[0]
    click.echo(f"route {route}: ok, {host} answered in {(time.monotonic() - started_s) * 1_000:.1f} ms")
