"""The allowlist: which destinations the proxy may connect to (pure).

A name in the list permits that name, whatever addresses it resolves to. An address or network in the list permits the
addresses in it, both as literal destinations and for names that resolve to them; other addresses of such a name stay
forbidden. As in AWS's proxy, a name in the list also permits the addresses that it resolves to, as literal destinations
and for other names that resolve to them: ``names_to_resolve`` says which names the caller has to resolve for that. A
strict list matches only what it says: names permit names, and addresses and networks permit literal addresses. Nothing
else is permitted.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Collection, Sequence
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
    """What the proxy may connect to: nothing, unless an entry permits it.

    Attributes:
        entries: the entries.
        is_strict: whether an entry permits only what it says.
    """

    entries: tuple[Entry, ...]
    is_strict: bool = False

    def permitted(
        self, destination: Destination, addresses: Sequence[IpAddress], *, of_names: Collection[IpAddress] = ()
    ) -> tuple[IpAddress, ...]:
        """Return those of the destination's ``addresses`` that the proxy may connect to, in the same order.

        Args:
            destination: the host and port to connect to.
            addresses: what it resolves to now; for a literal address, that address.
            of_names: what names in the list (``names_to_resolve``) resolve to now.
        """
        if self.permits_name(destination):
            return tuple(addresses)
        networks = self._networks(destination)
        return tuple(a for a in addresses if a in of_names or any(a in network for network in networks))

    def names_to_resolve(self, destination: Destination) -> tuple[str, ...]:
        """Return the names in the list with the destination's port; their addresses are permitted, unless strict."""
        return () if self.is_strict or self.permits_name(destination) else self._rules(destination).names

    def permits_without_names(self, destination: Destination) -> bool:
        """Return whether ``permitted`` can return anything if no name in the list is resolved."""
        if destination.address is not None:
            return bool(self.permitted(destination, [destination.address]))
        return self.permits_name(destination) or bool(self._networks(destination))

    def could_permit(self, destination: Destination) -> bool:
        """Return whether ``permitted`` can return anything at all; resolves no name."""
        return self.permits_without_names(destination) or bool(self.names_to_resolve(destination))

    def permits_name(self, destination: Destination) -> bool:
        """Return whether the list permits the destination by its name, whatever that resolves to."""
        if destination.address is not None:
            return False
        rules = self._rules(destination)
        return destination.host in rules.name_set or destination.host.partition(".")[2] in rules.parents

    def _networks(self, destination: Destination) -> tuple[IpNetwork, ...]:
        if self.is_strict and destination.address is None:
            return ()
        return self._rules(destination).networks

    def _rules(self, destination: Destination) -> _Rules:
        return self._rules_by_port.get(destination.port, _NO_RULES)

    @functools.cached_property
    def _rules_by_port(self) -> dict[int, _Rules]:
        """The entries by port, because a file may have thousands of routes and of entries."""
        by_port: dict[int, list[Pattern]] = {}
        for entry in self.entries:
            for port in entry.ports:
                by_port.setdefault(port, []).append(entry.pattern)
        return {port: _Rules.of(patterns) for port, patterns in by_port.items()}


@dataclass(frozen=True)
class _Rules:
    """What is permitted on one port."""

    names: tuple[str, ...]
    name_set: frozenset[str]
    parents: frozenset[str]
    networks: tuple[IpNetwork, ...]

    @classmethod
    def of(cls, patterns: Sequence[Pattern]) -> _Rules:
        names = tuple(dict.fromkeys(pattern.name for pattern in patterns if isinstance(pattern, ExactName)))
        return cls(
            names,
            frozenset(names),
            frozenset(pattern.parent for pattern in patterns if isinstance(pattern, AnyLabel)),
            tuple(pattern for pattern in patterns if not isinstance(pattern, ExactName | AnyLabel)),
        )


_NO_RULES = _Rules.of(())


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


def _network_text(network: IpNetwork) -> str:
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
