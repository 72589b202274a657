"""What the commands read and write: standard streams that may be closed, and files of a bounded size."""

from __future__ import annotations

import sys
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from vsock_wire.errors import InputError

STANDARD_INPUT = "-"
"""In place of a path."""


def standard_input() -> BufferedReader:
    """Return standard input.

    Raises:
        InputError: the program was started with it closed, as by ``<&-``.
    """
    if sys.stdin is None:
        raise InputError("standard input is closed")
    return cast("BufferedReader", sys.stdin.buffer)


def standard_output() -> BinaryIO:
    """Return standard output; asked for before a secret is, lest one be decrypted only to be lost.

    Raises:
        InputError: the program was started with it closed, as by ``>&-``.
    """
    if sys.stdout is None:
        raise InputError("standard output is closed")
    return sys.stdout.buffer


def read_file(path: str | Path, what: str, *, max_bytes: int) -> bytes:
    """Return all bytes of a file, or of standard input where ``path`` is STANDARD_INPUT.

    Args:
        path: of the file.
        what: names it in errors.
        max_bytes: most bytes it may have.

    Raises:
        InputError: it has more, cannot be read, or standard input is closed.
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
        raise InputError(f"{what}: expected at most {max_bytes} bytes, got more")
    return data
