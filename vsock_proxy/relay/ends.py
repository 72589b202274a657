"""One socket of a relayed connection: reads it, writes to it, and holds what it does not accept yet.

An End reads its socket until that has no more, and gives each chunk to the other End. How both work together, and why:
``relay.duplex``.
"""

from __future__ import annotations

import contextlib
import errno
import os
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from typing import Protocol

from vsock_proxy.relay.budget import CHUNK_BYTES, Budget
from vsock_proxy.relay.loop import RelayLoop
from vsock_proxy.relay.outcomes import CLOSED, Ending, EndReason, RouteStats
from vsock_proxy.relay.pipes import CannotSpliceError, Pipe
from vsock_proxy.relay.raw_sockets import probe, send_at_once, shut_down_writing

TURN_BYTES = 2_097_152
"""About what one socket is read for in one turn, before the others have theirs: a millisecond of copying."""

_GONE = (errno.EPIPE, errno.ENOTCONN)
_NEWS = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR
_MAY_END = EPOLLRDHUP | EPOLLHUP | EPOLLERR

_scratch = memoryview(bytearray(CHUNK_BYTES))  # shared: its content is given or copied away before the next read
_whole_scratch = (_scratch,)


class Duplex(Protocol):
    """What an End needs of the Relay that it belongs to, which describes these."""

    loop: RelayLoop
    budget: Budget
    stats: RouteStats
    client: End
    is_over: bool
    last_active_s: float
    may_splice: bool

    def finish(self, ending: Ending, *, reset: bool = False) -> None:
        """End the connection now."""


class End:
    """One socket of a connection: what is read from it, and what is still to be written to it.

    Attributes:
        number: the descriptor.
        is_tcp: whether it is a TCP socket.
        pending: bytes that the socket has not accepted yet.
        pipe: what bulk data for the socket goes through; None while it is copied.
        is_blocked: whether bytes wait, in ``pending`` or ``pipe``, until the socket accepts them.
        moved_bytes: bytes that the socket has accepted.
        has_ended: whether its stream has ended, and the other socket knows.
    """

    __slots__ = ("_charged", "_failed", "_relay", "has_ended", "is_blocked", "is_tcp", "moved_bytes", "number", "other",
                 "pending", "pipe", "sends_at_once")  # fmt: skip
    other: End

    def __init__(self, relay: Duplex, number: int, failed: EndReason, *, is_tcp: bool) -> None:
        self._relay = relay
        self._failed = failed
        self.pipe: Pipe | None = None
        self.is_blocked = False
        self._charged = 0
        self.number = number
        self.is_tcp = is_tcp
        self.pending: bytes | memoryview = b""
        self.moved_bytes = 0
        self.has_ended = False
        self.sends_at_once = False

    def on_event(self, mask: int) -> None:
        """See Watcher."""
        if mask & EPOLLOUT and self.is_blocked:
            self.flush()
        if mask & _NEWS and not self._relay.is_over:
            self._read(mask)

    def on_bug(self) -> None:
        """See Watcher."""
        self._relay.finish(Ending(EndReason.STOPPED, "internal error"), reset=True)

    def read(self) -> None:
        """Move what the socket has; harmless if it has nothing."""
        if not self._relay.is_over:
            self._read(_MAY_END)

    def hold(self, data: bytes) -> None:
        """Keep bytes until the socket accepts them."""
        self.pending = data
        self.is_blocked = True
        self._charged = len(data)
        self._relay.budget.hold(self._charged)

    def send_first(self, data: bytes) -> None:
        """Give the socket bytes that come before those of the other side."""
        self.hold(data)
        self.flush()

    def flush(self) -> None:
        """Give the socket what is held for it; once that is all, read more."""
        if self.pipe is not None and self.pipe.held_bytes:
            self.flush_pipe(self.pipe)
        else:
            self._flush_pending()
        if not self.is_blocked and not self._relay.is_over:
            self.other.read()

    def _flush_pending(self) -> None:
        try:
            given = os.write(self.number, self.pending)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
            return
        self.count(given)
        if given < len(self.pending):
            self.pending = memoryview(self.pending)[given:]
        else:
            self.pending = b""
            self.is_blocked = False
            self._uncharge()

    def leave_if_gone(self, *, failed: bool = False) -> bool:
        """End the connection if the peer has closed its socket altogether, rather than only ended its stream.

        Args:
            failed: whether the loop has reported an error.

        Returns:
            Whether it has.
        """
        if self.other.has_ended:  # then it is this proxy that has shut the socket down for writing
            return False
        error = probe(self.number)
        if error is None:
            return False
        if failed or error.errno not in _GONE:
            self._fail(error)
        elif self.is_blocked or self.other.is_blocked:
            self._relay.finish(Ending(self._failed, "gone before everything was delivered"), reset=True)
        else:
            self._relay.finish(CLOSED)
        return True

    def drop(self) -> None:
        """Let go of what is held."""
        self._uncharge()
        self.pending = b""
        if self.pipe is not None:
            self.pipe.close()
            self.pipe = None

    def _read(self, mask: int) -> None:
        sink = self.other
        if self.has_ended:
            if mask & _MAY_END:
                self.leave_if_gone(failed=bool(mask & EPOLLERR))
            return
        if sink.is_blocked:
            return
        left_bytes = TURN_BYTES
        while left_bytes > 0:
            try:
                count = self._copy() if sink.pipe is None else self._splice(sink.pipe)
            except BlockingIOError:
                return
            except OSError as error:
                self._fail(error)
                return
            if count == 0:
                self._end()
                return
            if self._relay.is_over or self.other.is_blocked or (count < 0 and not mask & _MAY_END):
                return
            left_bytes -= abs(count)
        self._relay.loop.again(self.read, self)

    def _copy(self) -> int:
        """Move one chunk through memory; return its size, negative if the socket had no more, and 0 at its end."""
        relay = self._relay
        sink = self.other
        allowed = CHUNK_BYTES
        if relay.budget.free_bytes < CHUNK_BYTES:
            allowed = relay.budget.allowance()
        count = os.readv(self.number, _whole_scratch if allowed == CHUNK_BYTES else (_scratch[:allowed],))
        if count == 0:
            return 0
        if sink.is_tcp and sink.moved_bytes and not sink.sends_at_once:
            sink.send_at_once()
        try:
            given = os.write(sink.number, _scratch[:count])
        except BlockingIOError:
            given = 0
        except OSError as error:
            sink._fail(error)
            return count
        sink.count(given)
        if given < count:
            sink.hold(bytes(_scratch[given:count]))
        if count < allowed:
            return -count
        if (
            count == CHUNK_BYTES and self.is_tcp and relay.may_splice
        ):  # a whole chunk at once is bulk data; splicing from unix sockets is slower
            sink.splice_from_now_on()
        return count

    def _splice(self, pipe: Pipe) -> int:
        """Move one chunk through the sink's pipe; return as ``_copy``."""
        try:
            count = pipe.take(self.number)
        except CannotSpliceError:
            self.other.copy_from_now_on()
            return self._copy()
        if count:
            self.other.flush_pipe(pipe)
        return count

    def flush_pipe(self, pipe: Pipe) -> None:
        """Give the socket what its pipe holds."""
        try:
            self.count(pipe.give(self.number))
        except CannotSpliceError:
            self.copy_from_now_on()
            self._flush_pending()
        except OSError as error:
            self._fail(error)
            return
        self.is_blocked = len(self.pending) > 0 or pipe.held_bytes > 0

    def splice_from_now_on(self) -> None:
        """Move what comes for this socket through a pipe, if one is available."""
        if self.pipe is None:
            with contextlib.suppress(OSError):  # without a pipe, keep copying
                self.pipe = Pipe()

    def send_at_once(self) -> None:
        """Turn off Nagle's algorithm: only now, because it never delays what is sent first."""
        self.sends_at_once = True
        send_at_once(self.number)

    def copy_from_now_on(self) -> None:
        """Go back to copying: the kernel cannot splice these sockets."""
        self._relay.may_splice = False
        if self.pipe is not None:
            held = self.pipe.empty()
            self.pipe.close()
            self.pipe = None
            if held:
                self.hold(held)

    def count(self, given: int) -> None:
        """Count bytes that the socket has accepted."""
        relay = self._relay
        self.moved_bytes += given
        relay.last_active_s = relay.loop.now_s
        if self is relay.client:
            relay.stats.to_client_bytes += given
        else:
            relay.stats.to_upstream_bytes += given

    def _uncharge(self) -> None:
        if self._charged:
            self._relay.budget.release(self._charged)
            self._charged = 0

    def _end(self) -> None:
        """Pass on the end of the stream; the other direction continues."""
        self.has_ended = True
        relay = self._relay
        relay.last_active_s = relay.loop.now_s
        if self.other.has_ended:
            relay.finish(CLOSED)
        elif self.is_tcp or not self.leave_if_gone():  # TCP cannot tell, before it has been written to
            try:
                shut_down_writing(self.other.number)
            except OSError as error:
                self.other._fail(error)

    def _fail(self, error: OSError) -> None:
        detail = (os.strerror(error.errno) if error.errno else type(error).__name__).lower()
        self._relay.finish(Ending(self._failed, detail), reset=True)
