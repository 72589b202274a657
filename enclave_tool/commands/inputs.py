"""Values that flags and standard input give to a command: base64 and raw bytes."""

from __future__ import annotations

import os

from vsock_wire.cli.streams import STANDARD_INPUT, read_file
from vsock_wire.cli.values import parse_base64
from vsock_wire.errors import InputError

MAX_TEXT_BYTES = 65_536
"""Most bytes of base64 text read from standard input; the largest public key needs a sixth of it."""


def read_base64(flag: str, text: str, most_bytes: int, *, credentials_fd: int | None) -> bytes:
    """Return the bytes of a flag's base64 text, or of standard input's for ``-``; blanks in it do not matter.

    Args:
        flag: its name, for the error.
        text: its value.
        most_bytes: how many bytes the text may stand for.
        credentials_fd: where the credentials are read, if that is a file descriptor.

    Raises:
        InputError: it is no standard base64 with padding, empty, or longer than ``most_bytes``.
    """
    data = read_standard_input(MAX_TEXT_BYTES, credentials_fd=credentials_fd) if text == "-" else os.fsencode(text)
    decoded = parse_base64(flag, data)
    if not 1 <= len(decoded) <= most_bytes:
        raise InputError(f"{flag}: expected 1 to {most_bytes} bytes, got {len(decoded)}")
    return decoded


def read_standard_input(most_bytes: int, *, credentials_fd: int | None) -> bytes:
    """Return all of standard input.

    Args:
        most_bytes: how much it may be.
        credentials_fd: where the credentials are read, if that is a file descriptor.

    Raises:
        InputError: it is longer than ``most_bytes``, closed, or where the credentials are.
    """
    if credentials_fd == 0:
        raise InputError("standard input: cannot be read for the data, because --credentials-fd 0 reads it")
    return read_file(STANDARD_INPUT, "standard input", max_bytes=most_bytes)
