"""The data of a configuration: routes, and the allowlist that applies to them (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from vsock_proxy.config.allowlist import Allowlist
from vsock_proxy.config.destination import Destination
from vsock_wire.net.address import Address


@dataclass(frozen=True)
class Route:
    """Connections to ``listen`` go to ``destination``."""

    listen: Address
    destination: Destination

    def __str__(self) -> str:
        return f"{self.listen} -> {self.destination}"


@dataclass(frozen=True)
class Config:
    """A checked configuration.

    Attributes:
        allowlist: the destinations that are permitted.
        routes: what the proxy listens on, and where it leads.
        warnings: what in the file was ignored, one text for each.
    """

    allowlist: Allowlist
    routes: tuple[Route, ...] = ()
    warnings: tuple[str, ...] = ()
