"""Reading ciphertexts as people pass them: base64 as an argument, from a pipe, or one per line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from vsock_wire.errors import InputError
from vsock_wire.messages import decode_base64
from vsock_wire.operations import MAX_CIPHERTEXT_BYTES

MAX_TEXT_BYTES = 65_536
"""Most bytes read for one ciphertext; a maximal one is 8,192 base64 characters, wrapped at most a little longer."""


def parse_ciphertext(text: bytes) -> bytes:
    """Return the bytes of a base64 ciphertext; blanks and line breaks in it do not matter.

    Raises:
        InputError: it is empty, no base64, or longer than KMS takes.
    """
    compact = b"".join(text.split())
    if not compact:
        raise InputError("CIPHERTEXT: expected base64 text, got nothing")
    try:
        ciphertext = decode_base64(compact.decode("ascii"))
    except ValueError:
        raise InputError(
            "CIPHERTEXT: expected standard base64 with padding, got other text",
            hint="base64 -w0 FILE makes such text of a file of raw bytes",
        ) from None
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


def read_lines(stream: BinaryIO) -> Iterator[bytes | InputError]:
    """Yield each line of ``stream`` as it comes, or the error that stands for a line too long to be a ciphertext."""
    while line := stream.readline(MAX_TEXT_BYTES + 1):
        if len(line) <= MAX_TEXT_BYTES:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(MAX_TEXT_BYTES)
        yield _too_long()


def _too_long() -> InputError:
    return InputError(f"CIPHERTEXT: expected at most {MAX_TEXT_BYTES} bytes of base64 text, got more")
