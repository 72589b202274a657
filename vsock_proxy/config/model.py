"""The data of a configuration: routes, and the lists that apply to them (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from vsock_proxy.config.allowlist import Allowlist
from vsock_proxy.config.destination import Destination
from vsock_proxy.config.enclaves import EnclaveAddress, EnclaveList
from vsock_wire.net.address import Address, TcpAddress


@dataclass(frozen=True)
class AskedByClient:
    """The destination of a CONNECT route: each client asks for its own."""

    def __str__(self) -> str:
        return "CONNECT"


RouteDestination: TypeAlias = Destination | AskedByClient | EnclaveAddress


@dataclass(frozen=True)
class Route:
    """Connections to ``listen`` go to ``destination``.

    Attributes:
        listen: where clients connect.
        destination: a host and port, an enclave, or what each client asks for.
        max_connections: most connections of this route at once; None for no limit of its own.
        connect_timeout_s: seconds for the destination to answer; None for that of the command line.
        idle_timeout_s: seconds without a byte in either direction, 0 for no limit; None for that of the command line.
        sends_proxy_header: whether the enclave is told who is calling, by the PROXY protocol.
    """

    listen: Address
    destination: RouteDestination
    max_connections: int | None = None
    connect_timeout_s: float | None = None
    idle_timeout_s: float | None = None
    sends_proxy_header: bool = False

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
        enclaves: the enclaves that are permitted.
        warnings: what in the file was ignored, one text for each.
    """

    allowlist: Allowlist
    routes: tuple[Route, ...] = ()
    enclaves: EnclaveList = field(default_factory=EnclaveList)
    warnings: tuple[str, ...] = ()
