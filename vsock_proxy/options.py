"""The options that serving and checking share, and parsing of a command line into typed settings."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import click

from vsock_proxy.config.destination import parse_destination
from vsock_proxy.config.model import Route
from vsock_proxy.config.source import DEFAULT_CONFIG_PATH, ConfigSource
from vsock_proxy.config.yaml_nodes import MAX_SECONDS
from vsock_proxy.daemon.descriptors import raise_descriptor_limit
from vsock_proxy.errors import AwsText, ConfigError
from vsock_proxy.settings import INFO_VERBOSITY, AddressFamily, CheckSettings, Limits, ServeSettings
from vsock_wire.errors import quoted
from vsock_wire.net.address import CID_ANY, MAX_CID, MAX_VSOCK_PORT, Address, VsockAddress, parse_address
from vsock_wire.net.sockets import MIN_TIMEOUT_S

ROUTE_OPTIONS = (
    click.option("-4", "--ipv4", is_flag=True, help="Use IPv4 addresses only."),
    click.option("-6", "--ipv6", is_flag=True, help="Use IPv6 addresses only."),
    click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"YAML file with the allowlist and optional routes. [default: {DEFAULT_CONFIG_PATH}; if that does not "
        "exist, all KMS endpoints are allowed]",
    ),
    click.option(
        "--cid",
        type=click.IntRange(0, MAX_CID),
        metavar="CID",
        default=CID_ANY,
        help="Listen on this CID only. [default: any CID]",
    ),
    click.option(
        "--strict-allowlist",
        "is_strict",
        is_flag=True,
        help="Let a name in the allowlist permit only that name, and an address only that address. Without it, a name "
        "also permits its addresses, and an address the names that resolve to it, as in AWS's proxy.",
    ),
    click.argument("local_port", required=False),
    click.argument("remote_addr", required=False),
    click.argument("remote_port", required=False),
)
"""The options that serving and checking share: the arguments of ``parse_check_settings``."""


class Seconds(click.FloatRange):
    """A duration in seconds, from a millisecond to a year; not NaN, which is in every range.

    Args:
        may_be_zero: whether 0 is accepted, too.
    """

    def __init__(self, *, may_be_zero: bool = False) -> None:
        super().__init__(min=0 if may_be_zero else MIN_TIMEOUT_S, max=MAX_SECONDS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or fail with a usage error."""
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


def parse_check_settings(
    *,
    ipv4: bool,
    ipv6: bool,
    config_path: Path | None,
    cid: int,
    is_strict: bool,
    local_port: str | None,
    remote_addr: str | None,
    remote_port: str | None,
) -> CheckSettings:
    """Parse the command line of ``check``.

    Raises:
        click.UsageError: options contradict each other, or a part of the route is missing.
        ConfigError: a part of the route is malformed.
    """
    family = _parse_family(ipv4=ipv4, ipv6=ipv6)
    route = _parse_route(local_port, remote_addr, remote_port, cid, family)
    return CheckSettings(source=ConfigSource(config_path, cid, route, is_strict=is_strict), family=family)


def parse_serve_settings(
    *,
    max_connections: str | None,
    connect_timeout: float,
    idle_timeout: float,
    drain_timeout: float,
    dns_refresh: float,
    metrics: int | None,
    log_format: str,
    verbose: int,
    quiet: int,
    **shared: Any,
) -> ServeSettings:
    """Parse the command line of ``vsock-proxy``, and raise the process's descriptor limit.

    Raises:
        click.UsageError: see ``parse_check_settings``, which takes ``shared``.
        ConfigError: likewise; or the number of connections is not a number, or 0.
    """
    check = parse_check_settings(**shared)
    raise_descriptor_limit()
    return ServeSettings(
        source=check.source,
        family=check.family,
        limits=Limits(
            max_connections=None if max_connections is None else _parse_workers(max_connections),
            connect_timeout_s=connect_timeout,
            idle_timeout_s=idle_timeout,
            drain_timeout_s=drain_timeout,
            dns_refresh_s=dns_refresh,
        ),
        metrics_port=metrics,
        verbosity=INFO_VERBOSITY + verbose - quiet,
        logs_json=log_format == "json",
    )


def _parse_family(*, ipv4: bool, ipv6: bool) -> AddressFamily:
    if ipv4 and ipv6:
        raise click.UsageError("-4 and -6 cannot be used together")
    return AddressFamily.IPV4 if ipv4 else AddressFamily.IPV6 if ipv6 else AddressFamily.ANY


def _parse_route(
    local_port: str | None, remote_addr: str | None, remote_port: str | None, cid: int, family: AddressFamily
) -> Route | None:
    if local_port is None:
        return None
    if remote_addr is None or remote_port is None:
        raise click.UsageError("LOCAL_PORT, REMOTE_ADDR and REMOTE_PORT must be given together")
    port = _parse_number(remote_port)
    if port is None:
        raise ConfigError(f"{AwsText.BAD_REMOTE_PORT}: expected a number, got {quoted(remote_port)}")
    destination = parse_destination(remote_addr, port)
    if destination.address is not None and not family.holds(destination.address):
        raise ConfigError(f"{AwsText.NO_FAMILY}: {remote_addr} is not in the address family that -4 or -6 selects")
    return Route(_parse_listen(local_port, cid), destination)


def _parse_listen(text: str, cid: int) -> Address:
    if ":" in text:
        return parse_address(text)
    port = _parse_number(text)
    if port is None or port > MAX_VSOCK_PORT:
        raise ConfigError(
            f"{AwsText.BAD_LOCAL_PORT}: expected a number from 0 to {MAX_VSOCK_PORT} or an address, got {quoted(text)}"
        )
    return VsockAddress(cid, port)


def _parse_workers(text: str) -> int:
    number = _parse_number(text.removeprefix("="))  # clap, AWS's parser, reads -w=3 as -w 3
    if number is None:
        raise ConfigError(f"{AwsText.BAD_WORKERS}: expected a number, got {quoted(text)}")
    if number == 0:
        raise ConfigError(f"{AwsText.NO_WORKERS}: expected at least 1, got 0")
    return number


def _parse_number(text: str) -> int | None:
    """Return a number as AWS's proxy reads it: in decimal, perhaps with a plus sign."""
    return int(text) if re.fullmatch(r"\+?[0-9]{1,10}", text, re.ASCII) else None
