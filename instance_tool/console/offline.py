"""What the commands share that work on files and ask no enclave: their output format, and warnings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from instance_tool.console.options import PROGRAM
from vsock_wire.errors import printable

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


def report_warning(text: str) -> None:
    """Print a warning to standard error: none of these is for ``--quiet`` to hide."""
    click.echo(f"{PROGRAM}: warning: {printable(text)}", err=True)
