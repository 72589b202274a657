"""The progress line of a batch on a terminal."""

from __future__ import annotations

import sys
import time
from typing import TextIO

import click

REDRAW_S = 0.2
"""Minimum time between two updates; more frequent ones would flicker."""
_CLEAR = "\r\x1b[K"
"""Moves to the start of the line and erases it. Source: ECMA-48, EL."""


class Progress:
    """A line on standard error that is redrawn in place.

    Nothing is drawn if standard error is not a terminal, or if standard output is one: then the results themselves show
    the progress.

    Args:
        is_quiet: whether to draw nothing at all.
    """

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_drawn = not is_quiet and _is_terminal(sys.stderr) and not _is_terminal(sys.stdout)
        self._started = self._drawn_at = time.monotonic()

    def show(self, lines: int) -> None:
        """Show that ``lines`` lines are done."""
        now = time.monotonic()
        if self._is_drawn and now - self._drawn_at >= REDRAW_S:
            self._drawn_at = now
            click.echo(f"{_CLEAR}{lines:,} lines, {lines / (now - self._started):,.0f}/s", err=True, nl=False)

    def clear(self) -> None:
        """Erase the line, before other output and at the end."""
        if self._is_drawn:
            click.echo(_CLEAR, err=True, nl=False)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()
