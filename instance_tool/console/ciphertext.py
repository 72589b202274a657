"""Reading base64 ciphertexts: from an argument, from a pipe, or one per line."""

from __future__ import annotations

import select
from io import BufferedReader, BytesIO, UnsupportedOperation
from typing import BinaryIO, Self

from vsock_wire.cli.values import parse_base64
from vsock_wire.errors import InputError
from vsock_wire.protocol.kms_operations import MAX_CIPHERTEXT_BYTES

MAX_TEXT_BYTES = 65_536
"""Maximum size of one ciphertext's text. The longest is 8,192 base64 characters; wrapping adds a little."""


def parse_ciphertext(text: bytes) -> bytes:
    """Return the bytes of a base64 ciphertext; spaces and line breaks in it are ignored.

    Raises:
        InputError: the text is empty or is not base64, or the ciphertext is longer than KMS accepts.
    """
    if not text.strip():
        raise InputError("CIPHERTEXT: empty")
    ciphertext = parse_base64("CIPHERTEXT", text)
    if len(ciphertext) > MAX_CIPHERTEXT_BYTES:
        raise InputError(f"CIPHERTEXT: expected at most {MAX_CIPHERTEXT_BYTES} bytes, got {len(ciphertext)}")
    return ciphertext


def read_ciphertext(stream: BinaryIO) -> bytes:
    """Read one ciphertext from ``stream``, to its end.

    Raises:
        InputError: as ``parse_ciphertext``; also if the text is longer than MAX_TEXT_BYTES.
    """
    text = stream.read(MAX_TEXT_BYTES + 1)
    if len(text) > MAX_TEXT_BYTES:
        raise _too_long()
    return parse_ciphertext(text)


class LineReader:
    """Yields each line of a stream as it arrives, or an error for a line that is too long to be a ciphertext.

    It keeps a buffer of its own, because ``select`` does not see data that a buffered reader has read ahead.

    Args:
        stream: the stream; nothing else may read from it.
    """

    def __init__(self, stream: BufferedReader | BytesIO) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._scanned = 0  # leading bytes of the buffer without a line break
        self._is_skipping = False
        self._has_ended = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes | InputError:
        while not self._has_line():
            self._fill()
        line = self._take_line()
        if line is None:
            raise StopIteration
        return line

    def is_ready(self) -> bool:
        """Return whether the next line, or the end, can be read without waiting for the writer."""
        while not self._has_line():
            if not self._can_read():
                return False
            self._fill()
        return True

    def _has_line(self) -> bool:
        """Return whether the buffer has a whole line or the stream has ended; drop a line that is too long."""
        if self._has_ended or self._buffer.find(b"\n", self._scanned) >= 0:
            return True
        self._scanned = len(self._buffer)
        if self._scanned > MAX_TEXT_BYTES:
            self._is_skipping = True
            self._buffer.clear()
            self._scanned = 0
        return False

    def _take_line(self) -> bytes | InputError | None:
        """Remove and return the line that ``_has_line`` found, or None at the end."""
        end = self._buffer.find(b"\n", self._scanned)
        size = end + 1 if end >= 0 else len(self._buffer)
        line = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._scanned = 0
        if self._is_skipping or len(line) > MAX_TEXT_BYTES:
            self._is_skipping = False
            return _too_long()
        return line or None

    def _fill(self) -> None:
        data = self._stream.read1(MAX_TEXT_BYTES)
        self._has_ended = not data
        self._buffer += data

    def _can_read(self) -> bool:
        try:
            descriptor = self._stream.fileno()
        except UnsupportedOperation:  # a stream in memory
            return True
        try:
            return bool(select.select([descriptor], [], [], 0)[0])
        except OSError:  # this system supports select for sockets only
            return False


def _too_long() -> InputError:
    return InputError(f"CIPHERTEXT: longer than {MAX_TEXT_BYTES} bytes of base64 text")
