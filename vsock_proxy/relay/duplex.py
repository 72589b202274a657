"""Relays both directions of one connection when its sockets are ready, without threads or idle buffers.

How it works. A Direction watches its source. When that is readable, it takes one chunk and gives it to the sink, which
usually accepts all of it. If the sink accepts only part, the direction holds the rest and watches the sink instead of
the source until the rest is gone. When its source reaches end of stream, it shuts down the sink for writing and is
finished; the other direction continues. The Relay ends when both directions are finished, when a socket fails, or when
``abort`` is called; then it closes both sockets.

Why it is built this way. A direction reads again only after the sink has accepted everything, so a slow reader costs at
most one chunk of memory, the kernel's flow control slows down its sender, and no other connection waits. Readiness
callbacks cost less than half the CPU of asyncio's streams (measurements: docs/explanation/proxy-relay.md). ``movers``
has two ways to move bytes, because copying is faster for messages and splicing is faster for bulk data from TCP.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from vsock_proxy.relay.movers import CHUNK_BYTES, CopyMover, Mover, SpliceError, SpliceMover
from vsock_proxy.relay.outcomes import Ending, EndReason

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""struct linger of <sys/socket.h>: on, 0 seconds, so that closing a TCP socket sends RST."""

_TCP_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class Relay:
    """Moves bytes between a client and its upstream until both have ended, one fails, or ``abort`` is called.

    NOT guaranteed: a reset is passed on as a reset only if the other side is TCP. A vsock or unix peer sees end of
    stream instead; TLS tells the two apart.

    Args:
        client: a connected non-blocking socket; ``run`` closes it.
        upstream: the same.
    """

    def __init__(self, client: socket.socket, upstream: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[Ending] = self._loop.create_future()
        self._sockets = (client, upstream)
        self.last_active_s = self._loop.time()
        self.to_upstream = Direction(self, client, upstream, (EndReason.CLIENT_FAILED, EndReason.UPSTREAM_FAILED))
        self.to_client = Direction(
            self, upstream, client, (EndReason.UPSTREAM_FAILED, EndReason.CLIENT_FAILED), may_splice=True
        )

    async def run(self) -> Ending:
        """Relay until the connection ends, then close both sockets."""
        try:
            self.to_upstream.start()
            self.to_client.start()
            self.to_upstream.read()  # most clients have already sent something while the proxy dialed the upstream
            return await self._ended
        finally:
            self.to_upstream.stop()
            self.to_client.stop()
            for sock in self._sockets:
                sock.close()

    def abort(self, ending: Ending) -> None:
        """End the connection now; TCP peers see a reset, because they may not have received everything."""
        if self._ended.done():
            return
        for sock in self._sockets:
            if sock.family in _TCP_FAMILIES:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.to_upstream.stop()
        self.to_client.stop()
        self._ended.set_result(ending)

    def note_progress(self) -> None:
        """Record that bytes have moved, or that one direction has passed on its end of stream."""
        self.last_active_s = self._loop.time()
        if self.is_over and not self._ended.done():
            self._ended.set_result(Ending(EndReason.CLOSED))

    @property
    def is_over(self) -> bool:
        """Whether both directions have reached end of stream."""
        return self.to_upstream.finished and self.to_client.finished


class Direction:
    """One direction of a relay: reads ``source``, writes ``sink``, and passes on the end of stream.

    It copies, which is fastest for messages and for bulk data that a client sends. If it may, it switches to splicing
    once the source has filled a whole chunk: that is fastest for bulk data that a client fetches.

    Args:
        relay: notified of progress and failure.
        source: socket to read from.
        sink: socket to write to.
        blame: the reasons to report when the source fails and when the sink fails.
        may_splice: whether splicing is allowed; it pays off if the source is TCP.
    """

    def __init__(
        self,
        relay: Relay,
        source: socket.socket,
        sink: socket.socket,
        blame: tuple[EndReason, EndReason],
        *,
        may_splice: bool = False,
    ) -> None:
        self._relay = relay
        self._loop = asyncio.get_running_loop()
        self._source = source
        self._sink = sink
        # numbers, because asyncio formats the repr of a socket object whenever it first registers one: 10 us each
        self._source_number = source.fileno()
        self._sink_number = sink.fileno()
        self._source_failed, self._sink_failed = blame
        self._mover: Mover = CopyMover()
        self._may_splice = may_splice
        self._is_bulk = False
        self._is_reading = False
        self._is_writing = False
        self.moved_bytes = 0
        self.finished = False

    def start(self) -> None:
        """Start reading."""
        self._loop.add_reader(self._source_number, self.read)
        self._is_reading = True

    def stop(self) -> None:
        """Stop reading and writing."""
        self._stop_reading()
        self._stop_writing()
        self._copy_from_now_on(b"")

    def _stop_reading(self) -> None:
        if self._is_reading:
            self._loop.remove_reader(self._source_number)
            self._is_reading = False

    def _stop_writing(self) -> None:
        if self._is_writing:
            self._loop.remove_writer(self._sink_number)
            self._is_writing = False

    def read(self) -> None:
        """Move what the source has; harmless if it has nothing."""
        if self._is_bulk:
            self._splice_from_now_on()
        try:
            count = self._mover.take(self._source)
        except BlockingIOError:
            return
        except SpliceError:
            self._copy_from_now_on(b"")
            return
        except OSError as error:
            self._fail(self._source_failed, error)
            return
        if count == 0:
            self._end()
        else:
            self._is_bulk = self._may_splice and count == CHUNK_BYTES
            if self._give() and self._mover.held_bytes:
                self._stop_reading()
                self._loop.add_writer(self._sink_number, self._on_writable)
                self._is_writing = True

    def _on_writable(self) -> None:
        if self._give() and not self._mover.held_bytes:
            self._stop_writing()
            self.start()

    def _give(self) -> bool:
        """Give the sink as much as it accepts; return whether the connection is still up."""
        try:
            count = self._mover.give(self._sink)
        except SpliceError as error:
            self._copy_from_now_on(error.taken)
            return self._give()
        except OSError as error:
            self._fail(self._sink_failed, error)
            return False
        if count:
            self.moved_bytes += count
            self._relay.note_progress()
        return True

    def _splice_from_now_on(self) -> None:
        self._may_splice = self._is_bulk = False
        with contextlib.suppress(OSError):  # without a pipe, keep copying
            self._mover = SpliceMover()

    def _copy_from_now_on(self, held: bytes) -> None:
        self._mover.close()
        self._mover = CopyMover(held)

    def _end(self) -> None:
        """Pass on the end of stream; the other direction continues."""
        self._stop_reading()
        self._copy_from_now_on(b"")
        self.finished = True
        if not self._relay.is_over:  # if it is over, closing the sockets tells the peer
            try:
                self._sink.shutdown(socket.SHUT_WR)
            except OSError as error:
                self._fail(self._sink_failed, error)
                return
        self._relay.note_progress()

    def _fail(self, reason: EndReason, error: OSError) -> None:
        self._relay.abort(Ending(reason, (error.strerror or type(error).__name__).lower()))
