"""Reading the lines of a batch as they arrive, and recognizing base64 that a tool has wrapped into several lines."""

from __future__ import annotations

import select
from io import BufferedReader, BytesIO, UnsupportedOperation
from typing import Self

from instance_tool.console.ciphertext import MAX_TEXT_BYTES, SUBJECT, too_long
from instance_tool.errors import EnclaveError
from vsock_wire.errors import InputError, ToolError

WRAPPED_WIDTHS = frozenset({60, 64, 76})
"""Length of the lines into which tools wrap base64: 76 in base64 of GNU and in MIME (RFC 2045), 64 in openssl and PEM
(RFC 7468), 60 in Ruby."""
_NOT_A_CIPHERTEXT = ("InvalidCiphertextException", None)
"""What KMS answers to a part of a ciphertext; kmstool in C gives no code."""


class WrappedLines:
    """Explains the failure of lines that are parts of a ciphertext that was wrapped: all of one width, and a last one.

    A whole ciphertext may have such a width, too, so a line is a part only if it has failed.
    """

    def __init__(self) -> None:
        self._lines: dict[int, bytes] = {}
        self._width = 0  # of the wrapped ciphertext that the previous line belongs to; 0 if it belongs to none

    def note(self, number: int, line: bytes) -> None:
        """Remember a line until ``explain`` is called for it."""
        self._lines[number] = line.strip()

    def explain(self, number: int, error: ToolError | None) -> ToolError | None:
        """Return the error to report for a line; call this for each line, in order.

        Args:
            number: the line's number.
            error: why it failed, or None if it did not.
        """
        text = self._lines.pop(number, b"")
        size = len(text)
        is_full = size in WRAPPED_WIDTHS and b"=" not in text and text.translate(None, b"+/-_").isalnum()
        is_part = _may_be_due_to_wrapping(error) and (is_full or 0 < size <= self._width)
        self._width = size if is_part and is_full else 0
        if not is_part:
            return error
        return InputError(
            f"{SUBJECT}: a part of base64 that is wrapped into several lines",
            hint="--batch takes one ciphertext per line: encode with base64 -w0, or decrypt without --batch",
        )


def _may_be_due_to_wrapping(error: ToolError | None) -> bool:
    if isinstance(error, EnclaveError):
        return error.reply.code in _NOT_A_CIPHERTEXT
    return isinstance(error, InputError)


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
            return too_long()
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
