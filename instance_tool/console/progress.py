"""How far a batch is, for who waits for it at a terminal."""

from __future__ import annotations

import sys
import time
from typing import TextIO

import click

REDRAW_S = 0.2
"""Between two looks of the line: more is a flicker."""
_CLEAR = "\r\x1b[K"
"""To the begin of the line, and erase it. Source: ECMA-48, EL."""


class Progress:
    """One line on standard error, drawn over itself.

    Nothing is drawn where standard error is no terminal, nor where results go to the terminal too: they show how far it
    is by themselves.

    Args:
        is_quiet: whether the caller wants nothing but errors.
    """

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_drawn = not is_quiet and _is_terminal(sys.stderr) and not _is_terminal(sys.stdout)
        self._started = self._drawn_at = time.monotonic()

    def show(self, lines: int) -> None:
        """Say that ``lines`` are done."""
        now = time.monotonic()
        if self._is_drawn and now - self._drawn_at >= REDRAW_S:
            self._drawn_at = now
            click.echo(f"{_CLEAR}{lines:,} lines, {lines / (now - self._started):,.0f}/s", err=True, nl=False)

    def clear(self) -> None:
        """Make room for something else, and at the end for the shell."""
        if self._is_drawn:
            click.echo(_CLEAR, err=True, nl=False)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()
