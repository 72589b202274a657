"""The command line of ``vsock-proxy``: AWS's own, and what goes beyond it."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vsock_proxy.check import check_config
from vsock_proxy.config.destination import parse_destination
from vsock_proxy.config.file import DEFAULT_CONFIG_PATH, Route
from vsock_proxy.dial.race import CONNECT_TIMEOUT_S
from vsock_proxy.dial.resolver import REFRESH_S, Family
from vsock_proxy.errors import AwsText, ConfigError
from vsock_proxy.logs import log_as_json
from vsock_proxy.relay.connections import DRAIN_TIMEOUT_S, IDLE_TIMEOUT_S, Limits
from vsock_proxy.service import ConfigSource, Service, choose_max_connections
from vsock_wire.cli.program import run_program, set_up_logging
from vsock_wire.errors import ExitCode, quoted
from vsock_wire.net.address import (
    CID_ANY,
    MAX_CID,
    MAX_TCP_PORT,
    MAX_VSOCK_PORT,
    Address,
    VsockAddress,
    parse_address,
)
from vsock_wire.version import version_text

PROGRAM = "vsock-proxy"
ROOM = "vsock_proxy"
INFO_VERBOSITY = 2
"""A service that says nothing of its connections helps nobody: info is the default, as one -q or -v away from it."""

_SECONDS = click.FloatRange(min=0.001, max=86_400 * 365)
_EPILOG = (
    "LOCAL_PORT is a vsock port, or an address: vsock://CID:PORT, unix:PATH, tcp://HOST:PORT. It and what follows may "
    "be left out where the config file has routes. SIGHUP reads the config file again, SIGTERM drains. "
    f"'{PROGRAM} check [OPTIONS] [LOCAL_PORT REMOTE_ADDR REMOTE_PORT]' says what the configuration allows, and whether "
    "its routes would work."
)

Command = Callable[..., Any]


def main() -> None:
    """Run the program."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["check"]:
        run_program(f"{PROGRAM} check", functools.partial(check, arguments[1:]), click.ClickException)
    run_program(PROGRAM, functools.partial(serve, arguments), click.ClickException)


def _route_options(command: Command) -> Command:
    """Add what serving and checking have in common."""
    for decorate in (
        click.argument("remote_port", required=False),
        click.argument("remote_addr", required=False),
        click.argument("local_port", required=False),
        click.option(
            "--cid",
            type=click.IntRange(0, MAX_CID),
            metavar="CID",
            default=CID_ANY,
            help="Listen on this CID only; any, if not given.",
        ),
        click.option(
            "--config",
            "config_path",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help=f"YAML file with the allowlist, and routes. [default: {DEFAULT_CONFIG_PATH}; without it, all KMS "
            "endpoints are allowed]",
        ),
        click.option("-6", "--ipv6", is_flag=True, help="Use IPv6 addresses only."),
        click.option("-4", "--ipv4", is_flag=True, help="Use IPv4 addresses only."),
    ):
        command = decorate(command)
    return command


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80}, epilog=_EPILOG)
@_route_options
@click.option(
    "-w",
    "--num_workers",
    "--num-workers",
    "max_connections",
    metavar="N",
    help="Most simultaneous connections; further ones are refused. [default: what the limit of file descriptors holds]",
)
@click.option(
    "--connect-timeout",
    type=_SECONDS,
    default=CONNECT_TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="Time for a destination to answer, all its addresses together.",
)
@click.option(
    "--idle-timeout",
    type=click.FloatRange(min=0),
    default=IDLE_TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="Close a connection on which nothing has moved for so long; 0 for never.",
)
@click.option(
    "--drain-timeout",
    type=click.FloatRange(min=0),
    default=DRAIN_TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="Time for connections to end after SIGTERM.",
)
@click.option(
    "--dns-refresh",
    type=_SECONDS,
    default=REFRESH_S,
    show_default=True,
    metavar="SECONDS",
    help="Resolve names again after so long.",
)
@click.option(
    "--metrics", type=click.IntRange(0, MAX_TCP_PORT), metavar="PORT", help="Prometheus metrics on 127.0.0.1."
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to log."
)
@click.option("-v", "--verbose", count=True, help="Log more.")
@click.option("-q", "--quiet", count=True, help="Log warnings only; twice: errors only.")
@click.version_option(version_text(), prog_name=PROGRAM)
def serve(
    *,
    ipv4: bool,
    ipv6: bool,
    config_path: Path | None,
    cid: int,
    local_port: str | None,
    remote_addr: str | None,
    remote_port: str | None,
    max_connections: str | None,
    connect_timeout: float,
    idle_timeout: float,
    drain_timeout: float,
    dns_refresh: float,
    metrics: int | None,
    log_format: str,
    verbose: int,
    quiet: int,
) -> ExitCode:
    """Forward connections from an enclave's vsock to TCP destinations that an allowlist permits.

    \b
    Examples:
      vsock-proxy 8000 kms.us-east-1.amazonaws.com 443
      vsock-proxy --config /etc/nitro_enclaves/vsock-proxy.yaml
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    set_up_logging(ROOM, verbosity=INFO_VERBOSITY + verbose - quiet)
    if log_format == "json":
        log_as_json(ROOM)
    family = _parse_family(ipv4=ipv4, ipv6=ipv6)
    source = ConfigSource(config_path, cid, _parse_route(local_port, remote_addr, remote_port, cid, family))
    most = choose_max_connections()
    limits = Limits(
        most if max_connections is None else _parse_workers(max_connections),
        connect_timeout,
        idle_timeout,
        drain_timeout,
        dns_refresh,
    )
    return asyncio.run(Service(source, limits, family, metrics).run())


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@_route_options
def check(
    *,
    ipv4: bool,
    ipv6: bool,
    config_path: Path | None,
    cid: int,
    local_port: str | None,
    remote_addr: str | None,
    remote_port: str | None,
) -> None:
    """Say what the configuration allows; resolve and dial each route, and fail at the first that would fail."""
    family = _parse_family(ipv4=ipv4, ipv6=ipv6)
    source = ConfigSource(config_path, cid, _parse_route(local_port, remote_addr, remote_port, cid, family))
    click.echo(f"config {source.file}")
    asyncio.run(check_config(source.load(), family))


def _parse_family(*, ipv4: bool, ipv6: bool) -> Family:
    if ipv4 and ipv6:
        raise click.UsageError("expected -4 or -6, got both")
    return Family.IPV4 if ipv4 else Family.IPV6 if ipv6 else Family.ANY


def _parse_route(
    local_port: str | None, remote_addr: str | None, remote_port: str | None, cid: int, family: Family
) -> Route | None:
    if local_port is None:
        return None
    if remote_addr is None or remote_port is None:
        raise click.UsageError("expected LOCAL_PORT REMOTE_ADDR REMOTE_PORT, got less")
    if not _is_number(remote_port):
        raise ConfigError(f"{AwsText.BAD_REMOTE_PORT}: expected a number, got {quoted(remote_port)}")
    destination = parse_destination(remote_addr, int(remote_port))
    if destination.address is not None and not family.holds(destination.address):
        raise ConfigError(f"{AwsText.NO_FAMILY}: expected an address of the family asked for, got {remote_addr}")
    return Route(_parse_listen(local_port, cid), destination)


def _parse_listen(text: str, cid: int) -> Address:
    if ":" in text:
        return parse_address(text)
    if not _is_number(text) or int(text) > MAX_VSOCK_PORT:
        raise ConfigError(
            f"{AwsText.BAD_LOCAL_PORT}: expected a number from 0 to {MAX_VSOCK_PORT} or an address, got {quoted(text)}"
        )
    return VsockAddress(cid, int(text))


def _parse_workers(text: str) -> int:
    if not _is_number(text):
        raise ConfigError(f"{AwsText.BAD_WORKERS}: expected a number, got {quoted(text)}")
    if int(text) == 0:
        raise ConfigError(f"{AwsText.NO_WORKERS}: expected at least 1, got 0")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10
