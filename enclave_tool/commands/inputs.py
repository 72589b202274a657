"""Input of a command from flags and standard input: base64 and raw bytes."""

from __future__ import annotations

import os

from vsock_wire.cli.streams import STANDARD_INPUT, read_file
from vsock_wire.cli.values import parse_base64
from vsock_wire.errors import InputError

MAX_TEXT_BYTES = 65_536
"""Maximum size of base64 text from standard input; the largest public key needs a sixth of it."""


def read_base64(
    flag: str, text: str, most_bytes: int, *, credentials_fd: int | None = None, least_bytes: int = 1
) -> bytes:
    """Return the bytes of a flag's base64 text, or of standard input for ``-``, ignoring blanks.

    Args:
        flag: the flag's name, for errors.
        text: the flag's value.
        most_bytes: maximum number of decoded bytes.
        credentials_fd: the file descriptor that the credentials are read from, if any.
        least_bytes: minimum number of decoded bytes.

    Raises:
        InputError: the text is not standard base64 with padding, decodes to fewer or more bytes, or cannot be read.
    """
    data = os.fsencode(text)
    if text == STANDARD_INPUT:
        check_standard_input_is_free(credentials_fd)
        data = read_file(STANDARD_INPUT, "standard input", max_bytes=MAX_TEXT_BYTES)
    decoded = parse_base64(flag, data)
    if not least_bytes <= len(decoded) <= most_bytes:
        raise InputError(f"{flag}: expected {least_bytes} to {most_bytes} bytes, got {len(decoded)}")
    return decoded


def check_standard_input_is_free(credentials_fd: int | None) -> None:
    """Check that standard input can be read for data.

    Args:
        credentials_fd: the file descriptor that the credentials are read from, if any.

    Raises:
        InputError: standard input supplies the credentials.
    """
    if credentials_fd == 0:
        raise InputError("standard input: cannot be read for the data, because --credentials-fd 0 reads it")
