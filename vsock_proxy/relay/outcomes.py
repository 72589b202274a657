"""How connections end or are refused: the reasons, the totals by route, and the log lines (pure)."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from vsock_proxy.errors import BusyError, DialError, NotAllowedError, ProxyError, ResolveError

LogFields: TypeAlias = dict[str, str | int | float]


class EndReason(enum.StrEnum):
    """Why a connection is over."""

    CLOSED = "closed"
    CLIENT_FAILED = "client failed"
    UPSTREAM_FAILED = "upstream failed"
    IDLE = "idle"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended, and details if there are any."""

    reason: EndReason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else str(self.reason)


CLOSED = Ending(EndReason.CLOSED)
"""How most connections end."""


class Refusal(enum.StrEnum):
    """Why a connection was closed without being relayed."""

    OVER_LIMIT = "over limit"
    NO_DESCRIPTOR = "no descriptor"
    NOT_ALLOWED = "not allowed"
    DNS = "dns"
    CONNECT = "connect"
    BAD_REQUEST = "bad request"
    CLIENT_LEFT = "client left"
    STOPPED = "stopped"


def refusal_for(error: ProxyError) -> Refusal:
    """Return the reason to count for a client that is refused with ``error``."""
    match error:
        case BusyError():
            return Refusal.OVER_LIMIT
        case NotAllowedError():
            return Refusal.NOT_ALLOWED
        case ResolveError():
            return Refusal.DNS
        case DialError():
            return Refusal.CONNECT
        case _:
            return Refusal.BAD_REQUEST


@dataclass
class RouteStats:
    """Totals of one route since startup, and the maximum number of its connections if it has one of its own."""

    active: int = 0
    ended: Counter[EndReason] = field(default_factory=Counter)
    refused: Counter[Refusal] = field(default_factory=Counter)
    to_upstream_bytes: int = 0
    to_client_bytes: int = 0
    limit: int | None = None

    def copy(self) -> RouteStats:
        """Return the totals as they are now."""
        return replace(self, ended=Counter(self.ended), refused=Counter(self.refused))


@dataclass(slots=True)
class ConnectionReport:
    """The one log line of a relayed connection; durations in seconds."""

    peer: str
    route: str
    to_upstream_bytes: int
    to_client_bytes: int
    duration_s: float
    ending: Ending
    destination: str = ""

    def __str__(self) -> str:
        return (
            f"connection from {self.peer}: {self._way}: {self.to_upstream_bytes} bytes to upstream, "
            f"{self.to_client_bytes} bytes to client, {self.duration_s:.3f} s, {self.ending}"
        )

    def fields(self) -> LogFields:
        """Return the report for a JSON log."""
        return {
            "event": "connection",
            "peer": self.peer,
            "route": self.route,
            "to_upstream_bytes": self.to_upstream_bytes,
            "to_client_bytes": self.to_client_bytes,
            "duration_s": round(self.duration_s, 6),
            "reason": str(self.ending.reason),
            "detail": self.ending.detail,
            "destination": self.destination,
        }

    @property
    def _way(self) -> str:
        """The route, and the destination if the route's name does not have it."""
        known = not self.destination or self.route.endswith(f" {self.destination}")
        return self.route if known else f"{self.route} {self.destination}"


@dataclass(frozen=True)
class RefusalReport:
    """The one log line of a refused connection."""

    peer: str
    route: str
    refusal: Refusal
    detail: str

    def __str__(self) -> str:
        return f"refused {self.peer}: {self.route}: {self.detail}"

    def fields(self) -> LogFields:
        """Return the report for a JSON log."""
        return {
            "event": "refused",
            "peer": self.peer,
            "route": self.route,
            "reason": str(self.refusal),
            "detail": self.detail,
        }
