"""Parsers for the values of command-line options.

If a function raises ValueError, click reports it under the option's name, as a usage error with exit code 2.
"""

from __future__ import annotations

import math
import re

from vsock_wire.errors import InputError, quoted
from vsock_wire.net.sockets import MIN_TIMEOUT_S
from vsock_wire.protocol.json_codec import decode_base64

MAX_SECONDS = 86_400
"""One day: longer than any useful wait, and short enough for every clock."""


def parse_seconds(text: str | float) -> float:
    """Return a number of seconds.

    Raises:
        InputError: ``text`` is not a number from 0 to MAX_SECONDS. NaN counts as not a number, too.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_SECONDS:
        raise InputError(f"seconds: expected a number from 0 to {MAX_SECONDS}, got {quoted(str(text))}")
    return seconds


def parse_timeout(text: str | float) -> float:
    """Return a timeout in seconds.

    Raises:
        InputError: ``text`` is not a number from MIN_TIMEOUT_S to MAX_SECONDS.
    """
    timeout_s = parse_seconds(text)
    if timeout_s < MIN_TIMEOUT_S:
        raise InputError(f"timeout: expected at least {MIN_TIMEOUT_S} seconds, got {timeout_s:g}")
    return timeout_s


def parse_text(text: str) -> str:
    """Return ``text`` unchanged if it can be encoded as UTF-8.

    Raises:
        InputError: the argument was not UTF-8, which Python represents with lone surrogates.
    """
    if text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    raise InputError(f"argument: expected UTF-8 text, got {quoted(text)}")


def parse_base64(subject: str, text: bytes) -> bytes:
    """Return the bytes of standard base64 with padding, ignoring blanks and line breaks.

    Args:
        subject: name of the text in errors, which do not quote it.
        text: the text as it was read.

    Raises:
        InputError: the text is not standard base64 with padding.
    """
    try:
        return decode_base64(b"".join(text.split()).decode("ascii"))
    except ValueError:
        raise InputError(
            f"{subject}: not standard base64 with padding",
            hint="base64 -w0 FILE encodes a file of raw bytes",
        ) from None


def parse_hex(option: str, text: str, *, max_bytes: int) -> bytes:
    """Return the bytes of an option's hexadecimal value; an empty value means no bytes.

    Raises:
        InputError: the value is not hexadecimal, or is longer than ``max_bytes``.
    """
    if not re.fullmatch(r"(?:[0-9A-Fa-f]{2})*", text):  # bytes.fromhex also accepts blanks
        raise InputError(f"{option}: expected two hexadecimal digits per byte")
    data = bytes.fromhex(text)
    if len(data) > max_bytes:
        raise InputError(f"{option}: expected at most {max_bytes} bytes, got {len(data)}")
    return data
