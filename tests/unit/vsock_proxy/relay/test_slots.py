"""How slots are shared between routes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vsock_proxy.relay.slots import RouteSlots, Slots


def test_route_may_use_its_share_and_the_common_half_but_never_anothers_share() -> None:
    busy, quiet = RouteSlots(), RouteSlots()
    slots = Slots(0)
    slots.divide([busy, quiet], 8)
    assert [slots.take(busy) for _ in range(7)] == [True] * 6 + [False]
    assert [slots.take(quiet) for _ in range(3)] == [True, True, False]
    slots.give_back(quiet)
    assert not slots.take(busy)
    assert slots.take(quiet)


def test_single_route_may_use_all() -> None:
    route = RouteSlots()
    slots = Slots(0)
    slots.divide([route], 3)
    assert [slots.take(route) for _ in range(4)] == [True] * 3 + [False]


def test_routes_own_limit_holds_though_more_is_free() -> None:
    route = RouteSlots(2)
    slots = Slots(0)
    slots.divide([route, RouteSlots()], 100)
    assert [slots.take(route) for _ in range(3)] == [True, True, False]


def test_what_a_removed_route_uses_still_counts() -> None:
    removed, new = RouteSlots(), RouteSlots()
    slots = Slots(0)
    slots.divide([removed], 4)
    assert [slots.take(removed) for _ in range(3)] == [True] * 3
    removed.share = 0
    slots.divide([new], 4)
    assert [slots.take(new) for _ in range(2)] == [True, False]
    slots.give_back(removed)
    assert slots.take(new)


@given(
    st.integers(0, 40),
    st.lists(st.none() | st.integers(1, 20), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=200),
)
def test_limits_hold_and_every_route_gets_its_share(
    limit: int, limits: list[int | None], steps: list[tuple[int, bool]]
) -> None:
    routes = [RouteSlots(own) for own in limits]
    slots = Slots(0)
    slots.divide(routes, limit)
    for index, takes in steps:
        route = routes[index % len(routes)]
        if takes:
            took = slots.take(route)
            assert took or route.used >= route.share
        elif route.used:
            slots.give_back(route)
        assert slots.used == sum(each.used for each in routes) <= limit
        assert all(each.limit is None or each.used <= each.limit for each in routes)
        unclaimed = sum(max(0, each.share - each.used) for each in routes)
        assert slots.used + unclaimed <= limit
