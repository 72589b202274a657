"""The proxy's loop: one epoll for every descriptor, run inside asyncio's own ``select``.

How it works. asyncio asks its selector which descriptors are ready. RelayLoop is that selector, but it serves the
proxy's own descriptors (clients, upstreams, listeners) itself: each has a Watcher, and a *turn* takes what epoll
reports and calls the watchers one after the other. It gives control back to asyncio only for asyncio's own descriptors
(signals), for its timers, and when a watcher asks for it with ``return_soon``. At the end of a turn it closes what the
turn has given up, and runs what asked for another go. Log lines are written together.

Why it is built this way. asyncio makes 38 system calls and several callbacks per connection; a turn makes none of its
own, so a connection costs about a third. Everything still runs in one thread with asyncio's timers, signals and tasks,
so nothing needs a lock. Descriptors are registered once, edge-triggered: a watcher must read or write until it would
block, or call ``again``. They are closed at the end of a turn, because the kernel gives a closed number to the next
client at once, and events of the same turn would reach the wrong connection. An exception in a watcher ends that
watcher's connection and is logged; it never ends the loop.

Where to add things. What a client's first bytes say before anything is dialled (an HTTP CONNECT request): an Opening,
and where a connection goes (TCP, unix or vsock, and what to send first): a Target; both are in ``relay.plan``.
``relay.connections`` admits, ``relay.dialling`` connects, ``relay.duplex`` moves bytes. ``slots``, ``budget`` and
``outcomes`` next to them decide and count without sockets.
"""

from __future__ import annotations

import logging
import math
import os
import select
import selectors
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Protocol

EVENTS_PER_TURN = 256
"""Most events that one turn takes from the kernel, so that timers and signals never wait long."""
LINGER_S = 0.01
"""How long a log line may wait for others, so that a busy proxy writes a hundred at once."""
MANY_BYTES = 4_096
"""Log lines of this size are written at once: one page of a pipe. Source: pipe(7)."""
EDGE = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
"""What a connection's descriptor is registered for, once: both directions, edge-triggered. Source: epoll(7)."""

_READ = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
_WRITE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR

logger = logging.getLogger(__name__)


class Lines(Protocol):
    """Log lines that wait to be written."""

    unwritten_bytes: int

    def flush(self) -> None:
        """Write what can be written without waiting."""


class Watcher(Protocol):
    """Serves one descriptor."""

    def on_event(self, mask: int) -> None:
        """Serve the events in ``mask``, without ever waiting."""

    def on_bug(self) -> None:
        """Give up what the descriptor belongs to: ``on_event`` has raised something that nobody expected."""


class RelayLoop(selectors.BaseSelector):
    """The selector of a ``asyncio.SelectorEventLoop`` that serves the proxy's own descriptors itself.

    Args:
        clock: seconds on the clock of asyncio's timers.

    Attributes:
        now_s: the time on that clock when the turn began; saves each watcher from asking for it.
        events_in_turn: how many events the turn serves.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._epoll = select.epoll()
        self._watchers: dict[int, Watcher] = {}
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._given_up: list[int] = []
        self._again: dict[Callable[[], None], Watcher] = {}
        self._at_end: list[Callable[[], None]] = []
        self._lines: Lines | None = None
        self._first_line_s: float | None = None
        self._must_return = False
        self.now_s = clock()
        self.events_in_turn = 0

    def watch(self, descriptor: int, watcher: Watcher, mask: int = EDGE) -> None:
        """Call ``watcher`` for the events of a descriptor until ``close_later``."""
        self._epoll.register(descriptor, mask)
        self._watchers[descriptor] = watcher

    def hand_over(self, descriptor: int, watcher: Watcher) -> None:
        """Replace the watcher of a watched descriptor."""
        self._watchers[descriptor] = watcher

    def unwatch(self, descriptor: int) -> None:
        """Stop watching a descriptor, and leave it open."""
        if self._watchers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def close_later(self, descriptor: int) -> None:
        """Stop watching a descriptor now, and close it at the end of the turn."""
        self._watchers.pop(descriptor, None)
        self._given_up.append(descriptor)

    def again(self, action: Callable[[], None], watcher: Watcher) -> None:
        """Run ``action`` in the next turn too, because ``watcher`` has more to do than is fair in this one."""
        self._again[action] = watcher

    def return_soon(self) -> None:
        """Give control back to asyncio after this turn: a watcher has set a timer or completed a future."""
        self._must_return = True

    def at_end_of_turn(self, action: Callable[[], None]) -> None:
        """Run ``action`` at the end of every turn, before the loop waits."""
        self._at_end.append(action)

    def write_together(self, lines: Lines) -> None:
        """Flush ``lines`` LINGER_S after the first of them, or earlier if there are many."""
        self._lines = lines

    # asyncio's side: the interface of selectors.BaseSelector

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See selectors.BaseSelector; asyncio registers few descriptors, level-triggered."""
        descriptor = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = selectors.SelectorKey(fileobj, descriptor, events, data)
        self._epoll.register(descriptor, _mask(events))
        self._keys[descriptor] = key
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See selectors.BaseSelector."""
        key = self.get_key(fileobj)._replace(events=events, data=data)
        self._epoll.modify(key.fd, _mask(events))
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """See selectors.BaseSelector."""
        key = self.get_key(fileobj)
        del self._keys[key.fd]
        self._epoll.unregister(key.fd)
        return key

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """See selectors.BaseSelector."""
        return self._keys[fileobj if isinstance(fileobj, int) else fileobj.fileno()]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """See selectors.BaseSelector."""
        return self._keys

    def close(self) -> None:
        """See selectors.BaseSelector."""
        self._end_turn()
        if self._lines is not None:
            self._lines.flush()
        self._epoll.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Run turns until asyncio has something to do: one of its descriptors, its next timer, or ``return_soon``."""
        until_s = None if timeout is None else self._clock() + timeout
        while True:
            self._end_turn()  # first, for what asyncio's callbacks have given up and logged
            ready = self._turn(self._wait_s(until_s))
            if ready or self._must_return or (until_s is not None and self.now_s >= until_s):
                self._must_return = False
                self._end_turn()
                return ready

    def _wait_s(self, until_s: float | None) -> float | None:
        if self._again or self._must_return:
            return 0.0
        if self._first_line_s is not None:
            until_s = min(until_s or math.inf, self._first_line_s + LINGER_S)
        return None if until_s is None else max(0.0, until_s - self._clock())

    def wait(self, timeout_s: float | None) -> list[tuple[int, int]]:
        """Return what epoll reports, after at most ``timeout_s``."""
        return self._epoll.poll(timeout_s, EVENTS_PER_TURN)

    def _turn(self, timeout_s: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = []
        watchers = self._watchers
        events = self.wait(timeout_s)
        self.now_s = self._clock()
        self.events_in_turn = len(events)
        for descriptor, mask in events:
            watcher = watchers.get(descriptor)
            if watcher is None:  # asyncio's, or given up earlier in this turn
                if (key := self._keys.get(descriptor)) is not None:
                    ready.append((key, _asyncio_events(mask) & key.events))
                continue
            try:
                watcher.on_event(mask)
            except Exception as error:  # noqa: BLE001 - logged, and only this connection ends
                _give_up(watcher, error)
        if self._again:
            self._run_again()
        return ready

    def _run_again(self) -> None:
        actions, self._again = self._again, {}
        for action, watcher in actions.items():
            try:
                action()
            except Exception as error:  # noqa: BLE001 - logged, and only this connection ends
                _give_up(watcher, error)

    def _end_turn(self) -> None:
        if self._given_up:
            numbers, self._given_up = self._given_up, []
            for descriptor in numbers:
                os.close(descriptor)
        for action in self._at_end:
            action()
        if self._lines is not None and self._lines.unwritten_bytes:
            self._write_lines(self._lines)

    def _write_lines(self, lines: Lines) -> None:
        if self._first_line_s is None:
            self._first_line_s = self.now_s
        if lines.unwritten_bytes >= MANY_BYTES or self.now_s >= self._first_line_s + LINGER_S:
            self._first_line_s = None
            lines.flush()


def report_bug(error: BaseException) -> None:
    """Log an exception that nobody expected: its type and place, because its text may hold anything."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
    logger.error("internal error: %s at %s", type(error).__name__, place)


def _give_up(watcher: Watcher, error: Exception) -> None:
    report_bug(error)
    try:
        watcher.on_bug()
    except Exception as second:  # noqa: BLE001 - logged, and only this connection ends
        report_bug(second)


def _mask(events: int) -> int:
    mask = 0
    if events & selectors.EVENT_READ:
        mask |= select.EPOLLIN
    if events & selectors.EVENT_WRITE:
        mask |= select.EPOLLOUT
    return mask


def _asyncio_events(mask: int) -> int:
    events = 0
    if mask & _READ:
        events |= selectors.EVENT_READ
    if mask & _WRITE:
        events |= selectors.EVENT_WRITE
    return events
