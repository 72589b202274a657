"""The progress line of a batch on a terminal."""

from __future__ import annotations

import sys
import time
from typing import TextIO

import click

from vsock_wire.cli.program import is_dumb_terminal

REDRAW_S = 0.2
"""Minimum time between two updates; more frequent ones would flicker."""
_CLEAR = "\r\x1b[K"
"""Moves to the start of the line and erases it. Source: ECMA-48, EL."""


class Progress:
    """A line on standard error that is redrawn in place.

    Nothing is drawn if standard error is not a terminal, or one that understands no control sequences; or if standard
    output is a terminal: then the results themselves show the progress.

    Args:
        is_quiet: whether to draw nothing at all.
    """

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_drawn = (
            not is_quiet and _is_terminal(sys.stderr) and not _is_terminal(sys.stdout) and not is_dumb_terminal()
        )
        self._started = self._drawn_at = time.monotonic()

    def show(self, lines: int) -> None:
        """Show that ``lines`` lines are done."""
        now = time.monotonic()
        if self._is_drawn and now - self._drawn_at >= REDRAW_S:
            self._drawn_at = now
            click.echo(
                f"{_CLEAR}{lines:,} lines, {lines / (now - self._started):,.0f}/s", err=True, nl=False, color=True
            )

    def close(self) -> None:
        """Erase the line at the end. After Ctrl-C, which the terminal shows on it, the prompt needs a clean line."""
        self.clear()

    def clear(self) -> None:
        """Erase the line, before other output."""
        if self._is_drawn:
            click.echo(_CLEAR, err=True, nl=False, color=True)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()
