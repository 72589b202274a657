"""Frames of the wire protocol: the bytes of one message, followed by a NUL (pure).

This is how kmstool delimits its JSON messages. JSON text cannot contain a NUL.
"""

from __future__ import annotations

from vsock_wire.errors import WireError

MAX_MESSAGE_BYTES = 65_536
"""Maximum size of a message, without its NUL. kmstool in C accepts 8,192 bytes. The base64 text of the largest
ciphertext fills these alone, and an encryption context can come on top of it."""

MESSAGE_TOO_LARGE = "Message size too large."
"""kmstool's own text for a message that is too large."""


def encode_frame(message: bytes) -> bytes:
    """Return ``message`` as one frame.

    Raises:
        ValueError: the message contains a NUL byte.
        WireError: the message is longer than MAX_MESSAGE_BYTES.
    """
    if b"\0" in message:
        raise ValueError("a message cannot contain a NUL byte")
    if len(message) > MAX_MESSAGE_BYTES:
        raise WireError(f"message: expected at most {MAX_MESSAGE_BYTES} bytes, got {len(message)}")
    return message + b"\0"


class FrameDecoder:
    """Splits a byte stream into frames, and buffers at most one frame's worth of an unfinished message.

    It reports a message over the limit once and skips it up to its NUL, so the stream stays usable.
    """

    def __init__(self, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max_message_bytes = max_message_bytes
        self._buffer = bytearray()
        self._scanned = 0  # bytes of the buffer known to have no NUL: a slow sender must not cost quadratic time
        self._skipping = False

    @property
    def is_mid_message(self) -> bool:
        """Whether bytes of an unfinished message have arrived."""
        return self._skipping or bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add the next bytes of the stream; call ``next_frame`` until it returns None before feeding more."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """Return the next complete message without its NUL, or None if it needs more bytes.

        Raises:
            WireError: a message is longer than the limit; the next call continues after it.
        """
        end = self._buffer.find(b"\0", self._scanned)
        if end < 0:
            self._await_more()
            return None
        frame = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        if self._skipping:
            self._skipping = False
            return self.next_frame()
        if len(frame) > self._max_message_bytes:
            raise self._too_large()
        return frame

    def _await_more(self) -> None:
        self._scanned = len(self._buffer)
        if self._scanned <= self._max_message_bytes and not self._skipping:
            return
        self._buffer.clear()
        self._scanned = 0
        if not self._skipping:
            self._skipping = True
            raise self._too_large()

    def _too_large(self) -> WireError:
        return WireError(
            MESSAGE_TOO_LARGE, hint=f"expected at most {self._max_message_bytes} bytes before the NUL byte"
        )
