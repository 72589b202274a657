"""Reading ciphertexts as people pass them: base64 as an argument, from a pipe, or one per line."""

from __future__ import annotations

import select
from io import BufferedReader, BytesIO, UnsupportedOperation
from typing import BinaryIO, Self

from vsock_wire.cli.values import parse_base64
from vsock_wire.errors import InputError
from vsock_wire.protocol.kms_operations import MAX_CIPHERTEXT_BYTES

MAX_TEXT_BYTES = 65_536
"""Most bytes read for one ciphertext; a maximal one is 8,192 base64 characters, wrapped at most a little longer."""


def parse_ciphertext(text: bytes) -> bytes:
    """Return the bytes of a base64 ciphertext; blanks and line breaks in it do not matter.

    Raises:
        InputError: it is empty, no base64, or longer than KMS takes.
    """
    if not text.strip():
        raise InputError("CIPHERTEXT: empty")
    ciphertext = parse_base64("CIPHERTEXT", text)
    if len(ciphertext) > MAX_CIPHERTEXT_BYTES:
        raise InputError(f"CIPHERTEXT: expected at most {MAX_CIPHERTEXT_BYTES} bytes, got {len(ciphertext)}")
    return ciphertext


def read_ciphertext(stream: BinaryIO) -> bytes:
    """Return the one ciphertext that ``stream`` holds.

    Raises:
        InputError: as ``parse_ciphertext``, and when there is far more text than a ciphertext has.
    """
    text = stream.read(MAX_TEXT_BYTES + 1)
    if len(text) > MAX_TEXT_BYTES:
        raise _too_long()
    return parse_ciphertext(text)


class LineReader:
    """Yields each line of a stream as it comes, or the error that stands for one too long to be a ciphertext.

    Args:
        stream: nobody else reads from it.
    """

    def __init__(self, stream: BufferedReader | BytesIO) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._scanned = 0  # bytes of the buffer known to hold no line break
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
        """Return whether the next line, or the end, can be had without waiting for whoever writes."""
        while not self._has_line():
            if not self._can_read():
                return False
            self._fill()
        return True

    def _has_line(self) -> bool:
        """Look for a line break or the end; of an unfinished line, keep no more than it may have."""
        if self._has_ended or self._buffer.find(b"\n", self._scanned) >= 0:
            return True
        self._scanned = len(self._buffer)
        if self._scanned > MAX_TEXT_BYTES:
            self._is_skipping = True
            self._buffer.clear()
            self._scanned = 0
        return False

    def _take_line(self) -> bytes | InputError | None:
        """Return what ``_has_line`` has found, or None for nothing before the end."""
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
        except UnsupportedOperation:  # all of it is in memory
            return True
        try:
            return bool(select.select([descriptor], [], [], 0)[0])
        except OSError:  # a system that knows select for sockets only
            return False


def _too_long() -> InputError:
    return InputError(f"CIPHERTEXT: longer than {MAX_TEXT_BYTES} bytes of base64 text")
