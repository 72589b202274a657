"""A client from ``accept`` until it is relayed or refused: waits for a slot, says what it wants, and is dialled for."""

from __future__ import annotations

import asyncio
import contextlib
import os
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLRDHUP
from typing import Protocol

from vsock_proxy.config.model import Route
from vsock_proxy.errors import BusyError, HeadError, ProxyError
from vsock_proxy.relay.dialling import Connected, Dial
from vsock_proxy.relay.loop import RelayLoop, report_bug
from vsock_proxy.relay.outcomes import Refusal, RouteStats, refusal_for
from vsock_proxy.relay.plan import Opening, Planner, Target
from vsock_proxy.relay.raw_sockets import has_unread_bytes, probe
from vsock_proxy.relay.slots import RouteSlots
from vsock_proxy.settings import Limits
from vsock_wire.net.address import TcpAddress

OPENING_BYTES = 16_384
"""Most bytes read at once from a client that still says what it wants."""

DISCARDED_READS = 16
"""Most reads of what a refused client has still sent: enough for an honest one, and little work for a flood."""

_MAY_HAVE_LEFT = EPOLLRDHUP | EPOLLHUP | EPOLLERR


class RouteState:
    """What the proxy keeps for a route while it runs; a reload gives it another Route.

    Attributes:
        route: the route as configured.
        name: its name in logs and metrics.
        is_tcp: whether its clients come over TCP.
        stats: its totals since startup.
        slots: its share of the connections.
        target: where plain connections have last gone, kept by the planner.
        connect_timeout_s: seconds for its destinations to answer.
        idle_timeout_s: seconds without a byte after which its connections are closed; 0 for no limit.
        target_for: the rules and addresses that this follows from.
    """

    __slots__ = ("connect_timeout_s", "idle_timeout_s", "is_tcp", "name", "route", "slots", "stats", "target",
                 "target_for")  # fmt: skip

    def __init__(self, route: Route, stats: RouteStats, limits: Limits) -> None:
        self.route = route
        self.name = str(route)
        self.is_tcp = isinstance(route.listen, TcpAddress)
        connect_s, idle_s = route.connect_timeout_s, route.idle_timeout_s
        self.connect_timeout_s = limits.connect_timeout_s if connect_s is None else connect_s
        self.idle_timeout_s = limits.idle_timeout_s if idle_s is None else idle_s
        self.stats = stats
        self.slots = RouteSlots(route.max_connections)
        self.target: Target | None = None
        self.target_for: tuple[object, object] = (None, None)


class Owner(Protocol):
    """What an Arrival needs of Connections."""

    loop: RelayLoop
    planner: Planner

    def connected(self, arrival: Arrival, upstream: Connected, target: Target, rest: bytes) -> None:
        """Relay from now on; ``rest`` is what the client has sent after its request."""

    def client_left(self, arrival: Arrival, *, has_spoken: bool) -> None:
        """Turn a client away that has left; or deliver what it has said, if nobody else needs its slot."""

    def turn_away(self, arrival: Arrival, refusal: Refusal, detail: str) -> None:
        """Close the client, count and log it."""

    def arm(self, due_s: float) -> None:
        """Call ``on_time`` at that time."""


class Arrival:
    """One client before it is relayed.

    Args:
        owner: hears how it ends.
        number: the client's descriptor, which the loop watches for this object.
        peer: the log's name for it.
        state: the route that it came in on.

    Attributes:
        events: what the loop has reported of the client so far.
        has_slot: whether it counts toward the limit; without, it waits.
        destination: what it is connected to, for the log.
    """

    __slots__ = ("_deadline_s", "_dial", "_opening", "_owner", "_task", "destination", "events", "has_slot", "number",
                 "peer", "started_s", "state")  # fmt: skip

    def __init__(self, owner: Owner, number: int, peer: str, state: RouteState) -> None:
        self._owner = owner
        self._opening: Opening | None = None
        self._task: asyncio.Future[Target] | None = None
        self._dial: Dial | None = None
        self.number = number
        self.peer = peer
        self.state = state
        self.destination = ""
        self.has_slot = False
        self.events = 0
        self.started_s = owner.loop.now_s
        self._deadline_s = self.started_s + state.connect_timeout_s

    def begin(self) -> None:
        """Serve the client: it has a slot."""
        self.has_slot = True
        self._deadline_s = self._owner.loop.now_s + self.state.connect_timeout_s
        self._opening = self._owner.planner.opening(self.state)
        if self._opening is None:
            self._plan(None)
        else:
            self._owner.arm(self._deadline_s)
            self._read_opening(self._opening)

    def on_event(self, mask: int) -> None:
        """See Watcher."""
        self.events |= mask
        if self._opening is not None and self._task is None and self._dial is None:
            if mask & (EPOLLIN | _MAY_HAVE_LEFT):
                self._read_opening(self._opening)
        elif mask & _MAY_HAVE_LEFT and probe(self.number) is not None:
            self._owner.client_left(self, has_spoken=has_unread_bytes(self.number))

    def on_bug(self) -> None:
        """See Watcher."""
        self._owner.turn_away(self, Refusal.STOPPED, "internal error")

    def on_time(self, now_s: float) -> None:
        """Go on with the dial, or give up, if it is time."""
        if self._dial is not None:
            self._dial.on_time(now_s)
        elif now_s < self._deadline_s:
            return
        elif not self.has_slot:
            self._opening = self._owner.planner.opening(self.state)  # which knows how to answer
            limit_s = self.state.connect_timeout_s
            self._refuse(BusyError(f"all connections are in use, and none has ended within {limit_s:.3g} s"))
        elif self._task is None:
            self._refuse(HeadError(408, f"the request did not come within {self.state.connect_timeout_s:.3g} s"))

    @property
    def due_s(self) -> float:
        """When ``on_time`` must be called, on the loop's clock."""
        return self._dial.due_s if self._dial is not None else self._deadline_s

    def stop(self, error: ProxyError | None = None) -> None:
        """Give up what it has begun, and answer a client that waits for a response."""
        if self._task is not None:
            self._task.cancel()
        if self._dial is not None:
            self._dial.stop()
        if self._opening is not None and error is not None:
            with contextlib.suppress(OSError):  # it may have left
                os.write(self.number, self._opening.refusal(error))
                for _ in range(DISCARDED_READS):  # unread bytes would turn the close into a reset, and lose the answer
                    if not os.read(self.number, OPENING_BYTES):
                        break

    def _read_opening(self, opening: Opening) -> None:
        try:
            while data := os.read(self.number, OPENING_BYTES):
                if (request := opening.feed(data)) is not None:
                    self._plan(request)
                    return
        except BlockingIOError:
            return
        except OSError as error:
            self._owner.turn_away(self, Refusal.CLIENT_LEFT, os.strerror(error.errno or 0).lower())
        except ProxyError as error:
            self._refuse(error)
        else:
            self._owner.turn_away(self, Refusal.CLIENT_LEFT, "the client left before it had said what it wants")

    def _plan(self, request: object | None) -> None:
        try:
            plan = self._owner.planner.plan(self.state, self.number, request)
        except ProxyError as error:
            self._refuse(error)
            return
        if isinstance(plan, Target):
            self._begin_to_dial(plan)
        else:
            self._task = asyncio.ensure_future(plan)
            self._task.add_done_callback(self._planned)
            self._owner.loop.return_soon()

    def _planned(self, task: asyncio.Future[Target]) -> None:
        if task.cancelled():
            return
        self._task = None
        error = task.exception()
        try:
            if isinstance(error, ProxyError):
                self._refuse(error)
            elif error is not None:
                raise error  # noqa: TRY301 - reported like any other bug
            else:
                self._begin_to_dial(task.result())
        except Exception as bug:  # noqa: BLE001 - logged, and only this connection ends
            report_bug(bug)
            self.on_bug()

    def _begin_to_dial(self, target: Target) -> None:
        owner = self._owner
        self._dial = Dial(owner.loop, target, self.state.connect_timeout_s, self._connected, self._not_connected)
        self._dial.start()
        if self._dial is not None:  # else all addresses have failed at once
            owner.arm(self._dial.due_s)

    def _connected(self, target: Target, upstream: Connected) -> None:
        rest = b"" if self._opening is None else self._opening.rest
        self._dial = None
        self.destination = target.name
        self._owner.connected(self, upstream, target, rest)

    def _not_connected(self, target: Target, error: ProxyError) -> None:
        self._dial = None
        self._owner.planner.failed(self.state, target)
        self._owner.loop.return_soon()  # that may have woken a task
        self._refuse(error)

    def _refuse(self, error: ProxyError) -> None:
        self.stop(error)
        self._owner.turn_away(self, refusal_for(error), str(error))
