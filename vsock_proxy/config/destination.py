"""The destination of a route: a host name or a literal IP address, and a TCP port (pure)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TypeAlias

from vsock_proxy.errors import AwsText, ConfigError
from vsock_wire.errors import quoted
from vsock_wire.net.address import MAX_TCP_PORT

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_NAME_CHARS = 253
"""Longest host name in its text form. Source: RFC 1035, section 2.3.4, less the root label and the length octets."""

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.ASCII)


@dataclass(frozen=True)
class Destination:
    """A checked destination; ``address`` is set if the host is a literal IP address, which needs no DNS."""

    host: str
    port: int
    address: IpAddress | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def entry(self) -> str:
        """The entry of an allowlist that permits it, as YAML."""
        host = f'"{self.host}"' if ":" in self.host else self.host
        return f"{{address: {host}, port: {self.port}}}"


def parse_destination(host: str, port: int) -> Destination:
    """Return the destination that ``host`` and ``port`` name, without resolving it.

    Args:
        host: a host name, which may be internationalized, or a literal IPv4 or IPv6 address.
        port: TCP port.

    Raises:
        ConfigError: neither a name nor an address, or a port out of range.
    """
    if not 1 <= port <= MAX_TCP_PORT:
        raise ConfigError(f"{AwsText.BAD_REMOTE_PORT}: expected a number from 1 to {MAX_TCP_PORT}, got {port}")
    address = parse_ip_address(host)
    if address is not None:
        return Destination(str(address), port, address)
    return Destination(parse_host_name(host), port)


def parse_ip_address(text: str) -> IpAddress | None:
    """Return the literal address in ``text``, or None if there is none.

    An IPv4 address in an IPv6 one (``::ffff:10.0.0.1``) is returned as IPv4, so that it cannot bypass a rule.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_host_name(text: str) -> str:
    """Return the ASCII, lower-case form of a host name, without a trailing dot.

    It refuses names that end in a number: the system's resolver would read ``127.1`` or ``0x7f000001`` as addresses.

    Raises:
        ConfigError: ``text`` is not a host name.
    """
    try:
        name = (text if text.isascii() else text.encode("idna").decode("ascii")).lower().removesuffix(".")
    except UnicodeError as error:
        raise _bad_name(text) from error
    labels = name.split(".")
    if (
        len(name) > MAX_NAME_CHARS
        or not all(_LABEL.fullmatch(label) for label in labels)
        or _NUMBER.fullmatch(labels[-1])
    ):
        raise _bad_name(text)
    return name


def _bad_name(text: str) -> ConfigError:
    return ConfigError(f"{AwsText.BAD_DOMAIN}: expected a host name or an IP address, got {quoted(text)}")
