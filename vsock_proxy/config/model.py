"""The data of a configuration: routes, and the allowlist that applies to them (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from vsock_proxy.config.allowlist import Allowlist
from vsock_proxy.config.destination import Destination
from vsock_wire.net.address import Address, TcpAddress


@dataclass(frozen=True)
class Route:
    """Connections to ``listen`` go to ``destination``.

    Attributes:
        listen: where clients connect.
        destination: where they are connected to.
        max_connections: most connections of this route at once; None for no limit of its own.
    """

    listen: Address
    destination: Destination
    max_connections: int | None = None

    def __str__(self) -> str:
        return f"{self.listen} -> {self.destination}"

    @property
    def has_own_port(self) -> bool:
        """Whether the kernel chooses the port, so that several routes may have the same ``listen``."""
        return isinstance(self.listen, TcpAddress) and self.listen.port == 0


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
