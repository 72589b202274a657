"""What the rest of the proxy decides for a connection: what its client must say first, and where it goes.

The server implements Planner. For a plain route, ``plan`` is all: it returns a Target at once if the addresses are
known, else an awaitable of one. A route whose clients say themselves where they want to go (HTTP CONNECT) also has an
Opening: the relay feeds it what the client sends, until it returns the client's request, and passes that on to
``plan``.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from vsock_proxy.errors import ProxyError

SocketName: TypeAlias = tuple[int, Any]
"""An address family, and what ``connect`` takes for it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a connection goes.

    Attributes:
        name: how errors name it.
        names: the addresses to race, best first; at least one.
        to_client: bytes that the client gets as soon as the upstream has answered, such as a response to CONNECT.
        to_upstream: bytes that the upstream gets before the client's, such as a PROXY protocol header.
        host: the host name that ``names`` come from, or nothing.
    """

    name: str
    names: tuple[SocketName, ...]
    to_client: bytes = b""
    to_upstream: bytes = b""
    host: str = ""


class Opening(Protocol):
    """Reads the start of one client's stream, before anything is dialled."""

    def feed(self, data: bytes) -> Any | None:
        """Take more of the stream; return the client's request once it is complete, None until then.

        What follows the request in ``data`` must be kept in ``rest``.

        Raises:
            ProxyError: not a request, or one too large.
        """

    @property
    def rest(self) -> bytes:
        """What the client has sent after its request; goes to the upstream."""

    def refusal(self, error: ProxyError) -> bytes:
        """Return what to send to the client that is refused with ``error``, before closing."""


class Planner(Protocol):
    """Knows the routes and the rules."""

    def opening(self, route: Any, /) -> Opening | None:
        """Return what must be read first on ``route``, or None if its clients are dialled for at once."""

    def plan(self, route: Any, client: int, request: Any | None, /) -> Target | Awaitable[Target]:
        """Return where a connection goes, at once if that is known.

        Args:
            route: the route's state.
            client: the client's descriptor, to ask for its name.
            request: what the route's Opening has returned; None without one.

        Raises:
            NotAllowedError: the allowlist does not permit it.
            ResolveError: the host has no address.
        """

    def failed(self, route: Any, target: Target, /) -> None:
        """Hear that no address of ``target`` has answered."""
