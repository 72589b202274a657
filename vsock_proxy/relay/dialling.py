"""Connects to a target without waiting: races all its addresses, of all families, as RFC 8305 describes.

How it works. A Dial starts to connect to the first address. The next address joins when the one before has failed or
has not answered within ATTEMPT_DELAY_S. The first socket that becomes writable wins, and the others are closed. Nothing
waits: the loop reports each socket's outcome, and the owner calls ``on_time`` when ``due_s`` has come.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from select import EPOLLERR, EPOLLHUP, EPOLLOUT
from typing import NamedTuple

from vsock_proxy.errors import DialError
from vsock_proxy.relay.loop import RelayLoop
from vsock_proxy.relay.plan import SocketName, Target
from vsock_proxy.relay.raw_sockets import TCP_FAMILIES, take_error

ATTEMPT_DELAY_S = 0.25
"""Seconds until the next address joins the race. Source: RFC 8305, section 5, "Connection Attempt Delay"."""


class Connected(NamedTuple):
    """A socket that is connected.

    Attributes:
        number: its descriptor, which the loop watches.
        is_tcp: whether it is a TCP socket.
        events: what the loop has reported of it: an upstream may have spoken already.
    """

    number: int
    is_tcp: bool
    events: int


class Dial:
    """One race to one target.

    Args:
        loop: reports when a socket is connected.
        target: what to connect to.
        timeout_s: seconds for all attempts together.
        on_connected: called once, with the target and the socket that has won.
        on_failed: called instead, with the target and the error.

    Attributes:
        due_s: when ``on_time`` must be called, on the loop's clock.
    """

    __slots__ = ("_attempts", "_deadline_s", "_error", "_index", "_loop", "_on_connected", "_on_failed", "_target",
                 "_timeout_s", "due_s")  # fmt: skip

    def __init__(
        self,
        loop: RelayLoop,
        target: Target,
        timeout_s: float,
        on_connected: Callable[[Target, Connected], None],
        on_failed: Callable[[Target, DialError], None],
    ) -> None:
        self._loop = loop
        self._target = target
        self._timeout_s = timeout_s
        self._on_connected = on_connected
        self._on_failed = on_failed
        self._attempts: set[_Attempt] = set()
        self._index = 0
        self._error: OSError | None = None
        self._deadline_s = self.due_s = loop.now_s + timeout_s

    def start(self) -> None:
        """Start to connect to the next address; the callbacks may run before this returns."""
        names = self._target.names
        while self._index < len(names):
            name = names[self._index]
            self._index += 1
            try:
                number = begin_to_connect(name)
            except OSError as error:
                self._error = error
                continue
            attempt = _Attempt(self, number, is_tcp=name[0] in TCP_FAMILIES)
            self._attempts.add(attempt)
            self._loop.watch(number, attempt)
            if self._index < len(names):
                self.due_s = min(self._deadline_s, self._loop.now_s + ATTEMPT_DELAY_S)
            else:
                self.due_s = self._deadline_s
            return
        self.due_s = self._deadline_s
        if not self._attempts:
            reason = os.strerror(self._error.errno) if self._error and self._error.errno else str(self._error)
            tried = ", ".join(_host(name) for name in names)
            self._fail(DialError(f"connect to {self._target.name}: {reason.lower()}, tried {tried}"))

    def on_time(self, now_s: float) -> None:
        """Let the next address join, or give up, if it is time."""
        if now_s >= self._deadline_s:
            self.stop()
            text = f"connect to {self._target.name}: no answer within {self._timeout_s:.3g} s"
            self._fail(DialError(text, timed_out=True))
        elif now_s >= self.due_s:
            self.start()

    def stop(self, but: _Attempt | None = None) -> None:
        """Close all attempts but one; no callback runs after this."""
        for attempt in self._attempts:
            if attempt is not but:
                self._loop.close_later(attempt.number)
        self._attempts.clear()

    def won(self, attempt: _Attempt, mask: int) -> None:
        """Hand over the first socket that is connected."""
        self.stop(but=attempt)
        self._on_connected(self._target, Connected(attempt.number, attempt.is_tcp, mask))

    def lost(self, attempt: _Attempt, error: OSError) -> None:
        """Go on without an address that does not answer."""
        self._attempts.discard(attempt)
        self._loop.close_later(attempt.number)
        self._error = error
        if self._index < len(self._target.names) or not self._attempts:
            self.start()

    def crash(self) -> None:
        """Give up after an error that nobody expected."""
        self.stop()
        self._fail(DialError(f"connect to {self._target.name}: internal error"))

    def _fail(self, error: DialError) -> None:
        self._on_failed(self._target, error)


class _Attempt:
    """Watches one socket that connects."""

    __slots__ = ("_dial", "is_tcp", "number")

    def __init__(self, dial: Dial, number: int, *, is_tcp: bool) -> None:
        self._dial = dial
        self.number = number
        self.is_tcp = is_tcp

    def on_event(self, mask: int) -> None:
        if mask & (EPOLLERR | EPOLLHUP) and (error := take_error(self.number)) is not None:
            self._dial.lost(self, error)
        elif mask & EPOLLOUT:
            self._dial.won(self, mask)

    def on_bug(self) -> None:
        self._dial.crash()


def begin_to_connect(name: SocketName) -> int:
    """Return the descriptor of a non-blocking socket that is connecting; the caller closes it.

    Raises:
        OSError: no socket could be made, or the connection failed at once.
    """
    family, address = name
    sock = socket.SocketType(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)  # socket.socket is slower
    code = sock.connect_ex(address)
    if code not in (0, errno.EINPROGRESS):
        sock.close()
        raise OSError(code, os.strerror(code))
    return sock.detach()


def _host(name: SocketName) -> str:
    family, address = name
    return str(address[0]) if family in TCP_FAMILIES else str(address)
