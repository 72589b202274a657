"""The proxy's open connections: admitted up to a limit, connected to their upstream, relayed, counted, closed on time.

How it works. ``admit`` takes a slot for a client, or lets it wait for one. The client is then an Arrival: its Opening,
if the route has one, reads what the client wants; the planner says where that is; a Dial connects. When that has
succeeded, a Relay takes over both descriptors and moves the bytes by itself. ``_arrivals`` and ``_relays`` hold what is
open: one timer ends arrivals that take too long, and one sweep ends relays that are idle or whose peers have gone. Each
client leaves one log line, a ConnectionReport or a RefusalReport.

Why it is built this way. Nothing here waits, so a connection needs neither a task nor a future, unless the planner must
ask DNS first. One timer and one sweep for all connections replace a timer per connection that every chunk would have to
reset. A client that leaves before it is relayed is noticed as soon as it does, and gives its slot back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection

from vsock_proxy.config.model import Route
from vsock_proxy.logs import Event, log_event
from vsock_proxy.relay.arrival import Arrival, RouteState
from vsock_proxy.relay.budget import Budget
from vsock_proxy.relay.dialling import Connected
from vsock_proxy.relay.duplex import Relay
from vsock_proxy.relay.loop import RelayLoop, report_bug
from vsock_proxy.relay.outcomes import ConnectionReport, Ending, EndReason, Refusal, RefusalReport, RouteStats
from vsock_proxy.relay.plan import Planner, Target
from vsock_proxy.relay.slots import Slots
from vsock_proxy.settings import Limits

SWEEP_S = 10.0
"""Maximum number of seconds by which a connection may outlive its idle timeout, or a peer that has gone."""

MANY_HELD_BYTES = 4_194_304
"""If more has been held for slow readers since the last sweep, the heap has pages to give back."""

_LEFT = "the client left before it was connected"

logger = logging.getLogger(__name__)


class Connections:
    """All open connections; for use inside one event loop.

    Args:
        loop: the loop that asyncio runs on.
        limits: number of connections, and timeouts.
        planner: says where connections go.
        log: takes each connection's report.

    Attributes:
        max_waiting: clients that may wait for a slot; more are refused at once.
    """

    def __init__(
        self, loop: RelayLoop, limits: Limits, planner: Planner, *, log: Callable[[int, Event], None] = log_event
    ) -> None:
        self.loop = loop
        self.planner = planner
        self.max_waiting = 0
        self._limits = limits
        self._log = log
        self._budget = Budget()
        self._slots = Slots(0)
        self._waiting: dict[Arrival, None] = {}  # in the order of their coming
        self._arrivals: dict[Arrival, None] = {}
        self._orphans: dict[Arrival, None] = {}  # have left, but what they have said is not delivered yet
        self._relays: dict[Relay, Arrival] = {}
        self._states: dict[Route, RouteState] = {}
        self._stats: dict[str, RouteStats] = {}
        self._armed_s = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._sweep_s = SWEEP_S
        self._sweeper = asyncio.get_running_loop().call_later(self._sweep_s, self._sweep)

    def __len__(self) -> int:
        return len(self._arrivals) + len(self._relays)

    def state_of(self, route: Route) -> RouteState:
        """Return the state of a route; the same for an equal route, so that totals and slots outlive a reload."""
        state = self._states.get(route)
        if state is None:
            stats = self._stats.setdefault(str(route), RouteStats())
            state = self._states[route] = RouteState(route, stats, self._limits)
        return state

    def divide(self, states: Collection[RouteState], listeners: int) -> None:
        """Share out the connections between the routes of a new configuration.

        Args:
            states: the routes.
            listeners: how many descriptors listen.
        """
        most, self.max_waiting = self._limits.capacity(listeners)
        for state in self._states.values():
            state.slots.share = 0
        for state in states:
            state.stats.limit = state.slots.limit
        self._slots.divide([state.slots for state in dict.fromkeys(states)], most)
        idle_timeouts_s = [state.idle_timeout_s for state in self._states.values() if state.idle_timeout_s]
        self._sweep_s = min([SWEEP_S, *(timeout_s / 4 for timeout_s in idle_timeouts_s)])
        self._sweeper.cancel()
        self._sweeper = asyncio.get_running_loop().call_later(self._sweep_s, self._sweep)

    @property
    def max_connections(self) -> int:
        """Maximum number of concurrent connections at the moment."""
        return self._slots.limit

    def stats(self) -> dict[str, RouteStats]:
        """Return the totals by route, including those of open connections; may be called from any thread."""
        return {name: stats.copy() for name, stats in tuple(self._stats.items())}

    def admit(self, number: int, peer: str, state: RouteState) -> None:
        """Take over an accepted connection: relay it, let it wait, or close it if the limit is reached.

        Args:
            number: the descriptor of a non-blocking socket.
            peer: the log's name for the other end.
            state: the route that it came in on.
        """
        arrival = Arrival(self, number, peer, state)
        if self._take_slot(state):
            self._arrivals[arrival] = None
            self.loop.watch(number, arrival)
            self._begin(arrival)
        elif self._may_wait():
            self._arrivals[arrival] = None
            self._waiting[arrival] = None
            self.loop.watch(number, arrival)
            self.arm(arrival.due_s)
        else:
            self.loop.close_later(number)
            self.refuse(peer, state, Refusal.OVER_LIMIT, f"all {self._slots.limit} connections are in use")

    def refuse(self, peer: str, state: RouteState, refusal: Refusal, detail: str) -> None:
        """Count and log a connection that is not relayed."""
        state.stats.refused[refusal] += 1
        self._log(logging.WARNING, RefusalReport(peer, state.name, refusal, detail))

    async def drain(self) -> None:
        """Give the connections until the drain timeout to finish, then end the rest."""
        if len(self):
            logger.info("draining %d connections for at most %.3g s", len(self), self._limits.drain_timeout_s)
            self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._emptied], timeout=self._limits.drain_timeout_s)
        self.abort()
        self._sweeper.cancel()
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        """End all connections now."""
        for relay in tuple(self._relays):
            relay.finish(Ending(EndReason.STOPPED, "the proxy was stopped"), reset=True)
        for arrival in tuple(self._arrivals):
            self.turn_away(arrival, Refusal.STOPPED, "the proxy was stopped")

    def connected(self, arrival: Arrival, upstream: Connected, target: Target, rest: bytes) -> None:
        """See Owner."""
        del self._arrivals[arrival]
        self._orphans.pop(arrival, None)
        state = arrival.state
        relay = Relay(
            self.loop,
            self._budget,
            arrival.number,
            upstream.number,
            tcp=(state.is_tcp, upstream.is_tcp),
            stats=state.stats,
            on_over=self._over,
        )
        self._relays[relay] = arrival
        state.stats.active += 1
        relay.start((arrival.events, upstream.events), target.to_client, target.to_upstream + rest)

    def turn_away(self, arrival: Arrival, refusal: Refusal, detail: str) -> None:
        """See Owner."""
        if self._arrivals.pop(arrival, self) is self:
            return
        self._orphans.pop(arrival, None)
        arrival.stop()
        self.loop.close_later(arrival.number)
        self.refuse(arrival.peer, arrival.state, refusal, detail)
        self._left(arrival)

    def client_left(self, arrival: Arrival, *, has_spoken: bool) -> None:
        """See Owner."""
        if has_spoken:
            self._orphans[arrival] = None
        else:
            self.turn_away(arrival, Refusal.CLIENT_LEFT, _LEFT)

    def arm(self, due_s: float) -> None:
        """See Owner."""
        if due_s < self._armed_s:
            if self._timer is not None:
                self._timer.cancel()
            self._armed_s = due_s
            self._timer = asyncio.get_running_loop().call_at(due_s, self._on_time)
            self.loop.return_soon()

    def _over(self, relay: Relay, ending: Ending) -> None:
        arrival = self._relays.pop(relay)
        stats = arrival.state.stats
        stats.active -= 1
        stats.ended[ending.reason] += 1
        self._log(
            logging.INFO,
            ConnectionReport(
                arrival.peer,
                arrival.state.name,
                relay.upstream.moved_bytes,
                relay.client.moved_bytes,
                self.loop.now_s - arrival.started_s,
                ending,
                arrival.destination,
            ),
        )
        self._left(arrival)

    def _left(self, arrival: Arrival) -> None:
        if arrival.has_slot:
            self._slots.give_back(arrival.state.slots)
            if self._waiting:
                self._admit_waiting()
        else:
            self._waiting.pop(arrival, None)
        if self._emptied is not None and not len(self) and not self._emptied.done():
            self._emptied.set_result(None)
            self.loop.return_soon()

    def _admit_waiting(self) -> None:
        for arrival in tuple(self._waiting):
            if self._slots.is_full:
                return
            if arrival in self._waiting and self._slots.take(arrival.state.slots):
                del self._waiting[arrival]
                self._begin(arrival)

    def _take_slot(self, state: RouteState) -> bool:
        while not self._slots.take(state.slots):
            if not self._drop_orphan():
                return False
        return True

    def _may_wait(self) -> bool:
        while len(self._waiting) >= self.max_waiting:
            if not self._drop_orphan():
                return False
        return True

    def _drop_orphan(self) -> bool:
        """Turn away the client that left first; return whether there was one."""
        for arrival in self._orphans:
            self.turn_away(arrival, Refusal.CLIENT_LEFT, _LEFT)
            return True
        return False

    @staticmethod
    def _begin(arrival: Arrival) -> None:
        try:
            arrival.begin()
        except Exception as error:  # noqa: BLE001 - logged, and only this connection ends
            report_bug(error)
            arrival.on_bug()

    def _on_time(self) -> None:
        self._timer = None
        self._armed_s = float("inf")
        self.loop.now_s = now_s = asyncio.get_running_loop().time()
        for arrival in tuple(self._arrivals):
            arrival.on_time(now_s)
        if self._arrivals:
            self.arm(min(arrival.due_s for arrival in self._arrivals))

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self.loop.now_s = now_s = loop.time()
        for relay, arrival in tuple(self._relays.items()):
            limit_s = arrival.state.idle_timeout_s
            relay.sweep(now_s - limit_s if limit_s else float("-inf"), now_s - self._sweep_s, limit_s)
        if self._budget.take_peak() >= MANY_HELD_BYTES:
            _give_heap_back()
        self._sweeper = loop.call_later(self._sweep_s, self._sweep)


def _give_heap_back() -> None:
    """Return the unused pages of the heap to the system, where the C library can: glibc can, musl cannot."""
    import ctypes  # noqa: PLC0415 - a megabyte, only if it is ever needed

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
