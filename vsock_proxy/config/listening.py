"""Which listener belongs to which route (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from vsock_proxy.config.model import Route
from vsock_wire.net.address import CID_ANY, Address, TcpAddress, VsockAddress

_ANY_HOSTS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound


class ListenKey(NamedTuple):
    """Identifies a route's listener across reloads: its address, and which of the routes with that address it is."""

    address: Address
    occurrence: int = 0


def listen_keys(routes: Iterable[Route]) -> dict[ListenKey, Route]:
    """Return the routes by listener; several may have the same TCP address with port 0, and each gets its own port."""
    seen: Counter[Address] = Counter()
    keys = {}
    for route in routes:
        keys[ListenKey(route.listen, seen[route.listen])] = route
        seen[route.listen] += 1
    return keys


def overlap(one: Address, other: Address) -> bool:
    """Return whether two different addresses cannot be listened on at the same time."""
    match one, other:
        case TcpAddress(), TcpAddress():
            return one.port == other.port != 0 and (one.host in _ANY_HOSTS or other.host in _ANY_HOSTS)
        case VsockAddress(), VsockAddress():
            return one.port == other.port and CID_ANY in (one.cid, other.cid)
        case _:
            return False
