"""The allowlist: which destinations the proxy may connect to (pure).

A name in the list permits that name, whatever addresses it resolves to. An address or network in the list permits the
addresses in it, both as literal destinations and for names that resolve to them; other addresses of such a name stay
forbidden. Nothing else is permitted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from vsock_proxy.config.destination import Destination, IpAddress, parse_host_name, parse_ip_address
from vsock_proxy.errors import ConfigError
from vsock_wire.errors import quoted

IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

WILDCARD = "*."
"""Before a name, it stands for exactly one label, as in TLS certificates (RFC 6125, section 6.4.3)."""


@dataclass(frozen=True)
class ExactName:
    """One host name."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class AnyLabel:
    """Every host name with exactly one label before ``parent``."""

    parent: str

    def __str__(self) -> str:
        return WILDCARD + self.parent


Pattern: TypeAlias = ExactName | AnyLabel | IpNetwork


@dataclass(frozen=True)
class Entry:
    """One line of the allowlist: hosts and the TCP ports on them."""

    pattern: Pattern
    ports: frozenset[int]

    def __str__(self) -> str:
        host = self.pattern if isinstance(self.pattern, ExactName | AnyLabel) else _network_text(self.pattern)
        return f"{host} port {', '.join(map(str, sorted(self.ports)))}"


@dataclass(frozen=True)
class Allowlist:
    """What the proxy may connect to: nothing, unless an entry permits it."""

    entries: tuple[Entry, ...]

    def permitted(self, destination: Destination, addresses: Sequence[IpAddress]) -> tuple[IpAddress, ...]:
        """Return those of the destination's ``addresses`` that the proxy may connect to, in the same order.

        Args:
            destination: the host and port of the route.
            addresses: what it resolves to now; for a literal address, that address.
        """
        if self._permits_name(destination):
            return tuple(addresses)
        networks = self._networks(destination)
        return tuple(address for address in addresses if any(address in network for network in networks))

    def could_permit(self, destination: Destination) -> bool:
        """Return whether ``permitted`` can return anything, without resolving a name."""
        if destination.address is not None:
            return bool(self.permitted(destination, [destination.address]))
        return self._permits_name(destination) or bool(self._networks(destination))

    def _permits_name(self, destination: Destination) -> bool:
        return any(
            destination.port in entry.ports and _matches_name(entry.pattern, destination.host)
            for entry in self.entries
            if destination.address is None
        )

    def _networks(self, destination: Destination) -> list[IpNetwork]:
        return [
            entry.pattern
            for entry in self.entries
            if destination.port in entry.ports and not isinstance(entry.pattern, ExactName | AnyLabel)
        ]


def parse_pattern(text: str) -> Pattern:
    """Parse an entry's ``address``.

    Args:
        text: a host name, ``*.`` and a host name, an IP address, or a network in CIDR form without host bits.

    Raises:
        ConfigError: ``text`` is none of these.
    """
    if (address := parse_ip_address(text)) is not None:
        return ipaddress.ip_network(address)
    if "/" in text:
        return _parse_network(text)
    if text.startswith(WILDCARD):
        return AnyLabel(parse_host_name(text.removeprefix(WILDCARD)))
    return ExactName(parse_host_name(text))


def _parse_network(text: str) -> IpNetwork:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        reason = "host bits are set" if _has_host_bits(text) else "not a valid network"
        raise ConfigError(f"expected a network such as 10.0.0.0/8, got {quoted(text)}: {reason}") from error


def _has_host_bits(text: str) -> bool:
    """Return whether ``text``, which is not a network, would be one without its host bits."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _matches_name(pattern: Pattern, host: str) -> bool:
    match pattern:
        case ExactName(name):
            return host == name
        case AnyLabel(parent):
            return host.partition(".")[2] == parent
        case _:
            return False


def _network_text(network: IpNetwork) -> str:
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
