"""What the command line decides: time limits, address family, metrics and logs, and where the configuration comes from.

``config/`` is what the config file decides. A reload reads that again; what stands here holds until the process ends.
"""

from __future__ import annotations

import enum
import socket
from dataclasses import dataclass

from vsock_proxy.config.destination import IpAddress
from vsock_proxy.config.source import ConfigSource

CONNECT_TIMEOUT_S = 10.0
"""Seconds until one address of the destination must have answered. A TCP connection inside AWS takes milliseconds; ten
seconds are enough for three lost SYN packets (sent again after 1, 3 and 7 s)."""
IDLE_TIMEOUT_S = 3_600.0
"""Seconds without a byte in either direction after which a connection is closed. AWS's proxy never closes them; an hour
is longer than any pool keeps connections alive on purpose, and short enough not to collect dead ones."""
DRAIN_TIMEOUT_S = 10.0
"""Seconds that connections have to end after SIGTERM: far more than a KMS call takes, and well below the 90 s after
which systemd kills."""
DNS_REFRESH_S = 30.0
"""Seconds between two look-ups of a name. The system's resolver reports no TTL; those of AWS's service endpoints are
about a minute, and half of that keeps the addresses from being older than DNS promises."""
INFO_VERBOSITY = 2
"""The default, because an operator needs to see a service's connections; each -v adds one, each -q takes one away."""


class AddressFamily(enum.Enum):
    """Which addresses of a destination to use."""

    ANY = socket.AF_UNSPEC
    IPV4 = socket.AF_INET
    IPV6 = socket.AF_INET6

    def holds(self, address: IpAddress) -> bool:
        """Tell whether ``address`` is one to use."""
        return self is AddressFamily.ANY or (self is AddressFamily.IPV4) == (address.version == 4)


@dataclass(frozen=True)
class Limits:
    """How much and how long; the constants of the same names say why the defaults are what they are.

    Attributes:
        max_connections: concurrent connections; further ones are refused.
        connect_timeout_s: for a destination to answer, and before that for its name to resolve.
        idle_timeout_s: without a byte in either direction; 0 for no limit.
        drain_timeout_s: for connections to end after SIGTERM.
        dns_refresh_s: between two look-ups of a name.
    """

    max_connections: int
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    idle_timeout_s: float = IDLE_TIMEOUT_S
    drain_timeout_s: float = DRAIN_TIMEOUT_S
    dns_refresh_s: float = DNS_REFRESH_S


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """The command line of ``vsock-proxy check``.

    Attributes:
        source: where the configuration comes from.
        family: which addresses of the destinations to use.
    """

    source: ConfigSource
    family: AddressFamily = AddressFamily.ANY


@dataclass(frozen=True, kw_only=True)
class ServeSettings(CheckSettings):
    """The command line of ``vsock-proxy``.

    Attributes:
        limits: how much and how long.
        metrics_port: TCP port of the metrics on loopback, 0 for any, or None for no metrics.
        verbosity: as ``set_up_logging`` takes it.
        logs_json: whether log lines are JSON objects.
    """

    limits: Limits
    metrics_port: int | None = None
    verbosity: int = INFO_VERBOSITY
    logs_json: bool = False
