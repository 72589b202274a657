"""How many connections may be open: over all routes, and for each (pure).

Half of the limit is divided evenly between the routes, and that share is each route's own, used or not. The other half
is for the first that come. A route whose clients never leave can so take at most its share and the common half, and
never the last slot of another.
"""

from __future__ import annotations

from collections.abc import Collection


class RouteSlots:
    """The slots of one route.

    Args:
        limit: most connections of this route; None for no limit but that over all routes.
    """

    __slots__ = ("limit", "share", "used")

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.used = 0
        self.share = 0


class Slots:
    """The slots of all routes.

    Args:
        limit: most connections at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._unclaimed = 0

    @property
    def is_full(self) -> bool:
        """Whether no route can take a slot."""
        return self.used >= self.limit

    def divide(self, routes: Collection[RouteSlots], limit: int) -> None:
        """Share out ``limit`` between the routes of a new configuration; what is in use stays counted."""
        self.limit = limit
        share = limit // (2 * len(routes)) if routes else 0
        for route in routes:
            route.share = share if route.limit is None else min(share, route.limit)
        self._unclaimed = sum(max(0, route.share - route.used) for route in routes)

    def take(self, route: RouteSlots) -> bool:
        """Take a slot for a connection of ``route``; return whether one was free."""
        if self.is_full or (route.limit is not None and route.used >= route.limit):
            return False
        if route.used < route.share:
            self._unclaimed -= 1
        elif self.used + self._unclaimed >= self.limit:
            return False
        self.used += 1
        route.used += 1
        return True

    def give_back(self, route: RouteSlots) -> None:
        """Give back a slot that ``take`` has taken."""
        self.used -= 1
        route.used -= 1
        if route.used < route.share:
            self._unclaimed += 1
