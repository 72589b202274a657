"""What the commands share that work on files and ask no enclave: reading, their output format, warnings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from instance_tool.options import PROGRAM
from vsock_wire.errors import InputError, printable

STANDARD_INPUT = "-"
JSON_OUTPUT = "json"
TEXT_OUTPUT = "text"

OUTPUT_OPTION: Callable[[Any], Any] = click.option(
    "--output", type=click.Choice([TEXT_OUTPUT, JSON_OUTPUT]), default=TEXT_OUTPUT, show_default=True,
    help="How to write the result.",
)  # fmt: skip


def is_json_wanted(ctx: click.Context) -> bool:
    """Return whether ``--output json`` was given, to this command or to any before it."""
    level: click.Context | None = ctx
    while level is not None:
        if level.get_parameter_source("output") not in (None, ParameterSource.DEFAULT):
            return bool(level.params["output"] == JSON_OUTPUT)
        level = level.parent
    return False


def read_file(path: str, what: str, *, max_bytes: int) -> bytes:
    """Return all bytes of a file, or of standard input where ``path`` is ``-``.

    Args:
        path: of the file.
        what: names it in errors.
        max_bytes: most bytes it may have.

    Raises:
        InputError: it has more, or standard input is closed.
        OSError: it cannot be read.
    """
    if path != STANDARD_INPUT:
        with Path(path).open("rb") as file:
            data = file.read(max_bytes + 1)
    elif sys.stdin is None:
        raise InputError("standard input: expected it to be open, got it closed")
    else:
        data = sys.stdin.buffer.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise InputError(f"{what}: expected at most {max_bytes} bytes, got more")
    return data


def report_warning(text: str) -> None:
    """Print a warning to standard error: none of these is for ``--quiet`` to hide."""
    click.echo(f"{PROGRAM}: warning: {printable(text)}", err=True)
