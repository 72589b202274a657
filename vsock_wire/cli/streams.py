"""Standard streams, which may be closed, and files of limited size, for the commands."""

from __future__ import annotations

import sys
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from vsock_wire.errors import InputError

STANDARD_INPUT = "-"
"""Path that stands for standard input."""


def standard_input() -> BufferedReader:
    """Return standard input.

    Raises:
        InputError: the program was started with standard input closed, for example with ``<&-``.
    """
    if sys.stdin is None:
        raise InputError("standard input is closed")
    return cast("BufferedReader", sys.stdin.buffer)


def standard_output() -> BinaryIO:
    """Return standard output.

    Commands call this before they decrypt, so that no secret is decrypted and then lost.

    Raises:
        InputError: the program was started with standard output closed, for example with ``>&-``.
    """
    if sys.stdout is None:
        raise InputError("standard output is closed")
    return sys.stdout.buffer


def read_file(path: str | Path, what: str, *, max_bytes: int) -> bytes:
    """Return all bytes of a file, or of standard input if ``path`` is STANDARD_INPUT.

    Args:
        path: path of the file.
        what: name of the content in errors.
        max_bytes: maximum size.

    Raises:
        InputError: the file is larger or cannot be read, or standard input is closed.
    """
    if path == STANDARD_INPUT:
        data = standard_input().read(max_bytes + 1)
    else:
        try:
            with Path(path).open("rb") as file:
                data = file.read(max_bytes + 1)
        except OSError as error:
            raise InputError(f"{what}: {path}: {(error.strerror or str(error)).lower()}") from error
    if len(data) > max_bytes:
        raise InputError(f"{what}: larger than {max_bytes} bytes")
    return data
