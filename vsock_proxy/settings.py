"""Settings from the command line: timeouts, address family, metrics, logs, and where the configuration comes from.

``config/`` holds the settings from the config file. A reload reads those again; the settings here never change.
"""

from __future__ import annotations

import enum
import resource
import socket
from dataclasses import dataclass, field

from vsock_proxy.config.destination import IpAddress
from vsock_proxy.config.source import ConfigSource

CONNECT_TIMEOUT_S = 10.0
"""Seconds within which one address of the destination must answer. A TCP connection inside AWS takes milliseconds; ten
seconds allow for three lost SYN packets (sent again after 1, 3 and 7 s)."""
IDLE_TIMEOUT_S = 3_600.0
"""Seconds without a byte in either direction after which a connection is closed. AWS's proxy never closes them; an hour
is longer than any pool keeps connections alive on purpose, and short enough that dead ones do not pile up."""
DRAIN_TIMEOUT_S = 10.0
"""Seconds that connections have to finish after SIGTERM: far more than a KMS call takes, and well below the 90 s after
which systemd kills the process."""
DNS_REFRESH_S = 30.0
"""Seconds between two lookups of a name. The system's resolver reports no TTL. AWS's service endpoints have a TTL of
about a minute; half of that keeps addresses from being used after they expire."""
INFO_VERBOSITY = 2
"""The default, because an operator needs to see a service's connections; each -v adds one, each -q subtracts one."""


DESCRIPTORS_PER_CONNECTION = 3
"""The client, the upstream, and a second address in the race to the upstream."""
RESERVED_DESCRIPTORS = 128
"""Reserved for the pipes of bulk transfers (2 x pipes.MAX_PIPES), logs, DNS, metrics, reloads, and refusing clients."""
MAX_WAITING = 4_096
"""Clients that may wait for a slot: as many as the kernel queues before they are accepted."""


def soft_descriptor_limit() -> int:
    """Return how many descriptors the process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class AddressFamily(enum.Enum):
    """Which addresses of a destination to use."""

    ANY = socket.AF_UNSPEC
    IPV4 = socket.AF_INET
    IPV6 = socket.AF_INET6

    def holds(self, address: IpAddress) -> bool:
        """Return whether ``address`` belongs to this family."""
        return self is AddressFamily.ANY or (self is AddressFamily.IPV4) == (address.version == 4)


@dataclass(frozen=True)
class Limits:
    """Number of connections, and timeouts; the constants of the same names explain the defaults.

    Attributes:
        max_connections: concurrent connections; None for as many as the process's descriptors allow.
        connect_timeout_s: for a destination to answer; separately, also for its name to resolve.
        idle_timeout_s: time without a byte in either direction before the connection is closed; 0 means no limit.
        drain_timeout_s: for connections to finish after SIGTERM.
        dns_refresh_s: between two lookups of a name.
        descriptors: how many the process may have open; as it was at startup, because a reload in a moment of want must
            not reduce the number of connections for good.
    """

    max_connections: int | None
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    idle_timeout_s: float = IDLE_TIMEOUT_S
    drain_timeout_s: float = DRAIN_TIMEOUT_S
    dns_refresh_s: float = DNS_REFRESH_S
    descriptors: int = field(default_factory=soft_descriptor_limit)

    def capacity(self, listeners: int) -> tuple[int, int]:
        """Return how many clients may be connected, and how many more may wait for that.

        Args:
            listeners: how many descriptors listen.
        """
        descriptors = max(0, self.descriptors - RESERVED_DESCRIPTORS - listeners)
        fitting = max(1, descriptors // DESCRIPTORS_PER_CONNECTION)
        most = fitting if self.max_connections is None else min(self.max_connections, fitting)
        return most, min(MAX_WAITING, max(0, descriptors - most * DESCRIPTORS_PER_CONNECTION))


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
        metrics_port: TCP port of the metrics on loopback, 0 for any free port, or None for no metrics.
        verbosity: as ``set_up_logging`` takes it.
        logs_json: whether log lines are JSON objects.
    """

    limits: Limits
    metrics_port: int | None = None
    verbosity: int = INFO_VERBOSITY
    logs_json: bool = False
