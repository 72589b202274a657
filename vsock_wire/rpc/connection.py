"""A connection that carries messages: sends and receives whole frames on a socket, each within a time limit."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import Self

from vsock_wire.errors import TransportError
from vsock_wire.net.sockets import close_quietly
from vsock_wire.protocol.frames import FrameDecoder, encode_frame
from vsock_wire.protocol.json_codec import JsonObject, encode_message

RECEIVE_BYTES = 65_536


class MessageConnection:
    """A connection to one peer that carries messages both ways.

    Only one thread at a time may use it. After ``send_from_other_threads``, any thread may send. Any thread may call
    ``close`` and ``stop_...``.

    Args:
        sock: a connected stream socket; this object takes ownership.
        peer: what errors call the peer.

    Attributes:
        peer: the same.
    """

    def __init__(self, sock: socket.socket, peer: object) -> None:
        self._sock = sock
        self.peer = peer
        self._decoder = FrameDecoder()
        self._sender = sock
        self._sending = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a thread that waits on it gets a TransportError or the end of the stream."""
        close_quietly(self._sock)
        if self._sender is not self._sock:
            self._sender.close()

    def send_from_other_threads(self) -> None:
        """Let any thread send from now on, one at a time. The receiving thread calls this."""
        if self._sender is self._sock:
            self._sender = self._sock.dup()  # because it needs its own timeout

    def stop_reading(self) -> None:
        """Make ``receive`` in another thread return None; sending still works."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)

    def stop_writing(self) -> None:
        """Tell the peer that no more messages follow; receiving still works."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def is_quiet(self) -> bool:
        """Return whether nothing waits to be received now: neither bytes nor the end of the stream."""
        if self._decoder.is_mid_message:
            return False
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        return not poller.poll(0)

    def send(self, message: JsonObject, *, timeout_s: float) -> int:
        """Send one message.

        Args:
            message: what ``encode_message`` takes.
            timeout_s: seconds to send the whole message, however slowly the peer reads.

        Returns:
            Its size in bytes, including the NUL.

        Raises:
            WireError: the message is longer than a frame may be.
            TransportError: the peer closed the connection, or does not read.
        """
        frame = encode_frame(encode_message(message))
        try:
            with self._sending:
                self._sender.settimeout(timeout_s)
                self._sender.sendall(frame)
        except OSError as error:
            raise self._error("write to", error, timeout_s) from error
        return len(frame)

    def receive(self, *, idle_timeout_s: float, message_timeout_s: float) -> bytes | None:
        """Return the next message without its NUL, or None if the peer closed the connection between two messages.

        Args:
            idle_timeout_s: seconds until the first byte of the message.
            message_timeout_s: seconds from its first byte to its NUL, so that a peer cannot hold the connection by
                sending slowly.

        Raises:
            WireError: the message is longer than a frame may be; the connection stays usable.
            TransportError: a timeout expired, the connection ended in the middle of a message, or it failed.
        """
        deadline: float | None = None
        while (frame := self._decoder.next_frame()) is None:
            if deadline is None and self._decoder.is_mid_message:
                deadline = time.monotonic() + message_timeout_s
            data = self._receive_some(idle_timeout_s if deadline is None else deadline - time.monotonic())
            if data:
                self._decoder.feed(data)
            elif self._decoder.is_mid_message:
                raise TransportError("read from", self.peer, "the connection ended in the middle of a message")
            else:
                return None
        return frame

    def _receive_some(self, timeout_s: float) -> bytes:
        if timeout_s <= 0:
            raise TransportError("read from", self.peer, "the rest of the message did not arrive in time")
        try:
            self._sock.settimeout(timeout_s)
            return self._sock.recv(RECEIVE_BYTES)
        except OSError as error:
            raise self._error("read from", error, timeout_s) from error

    def _error(self, operation: str, error: OSError, timeout_s: float) -> TransportError:
        if isinstance(error, TimeoutError):
            return TransportError(
                operation,
                self.peer,
                f"no progress within {timeout_s:.3g} s",
                hint="the peer is stuck, overloaded, or speaks another protocol",
            )
        return TransportError(operation, self.peer, (error.strerror or str(error)).lower())
