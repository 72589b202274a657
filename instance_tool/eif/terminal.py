"""What people see on standard error: how far an image has been read or written, and warnings."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator

import click

from vsock_wire.errors import printable


@contextlib.contextmanager
def shown_progress(label: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    """Return what to call with the number of bytes that are done; draws nothing if standard error is not a terminal."""
    stream = sys.stderr
    if stream is None or not stream.isatty():
        yield lambda _done_bytes: None
        return
    with click.progressbar(length=total_bytes, label=label, file=stream) as bar:
        yield lambda done_bytes: bar.update(min(done_bytes, total_bytes) - bar.pos)


def report_warnings(texts: Iterable[str]) -> None:
    """Print each warning on a line of its own, even if standard error is not a terminal."""
    for text in texts:
        click.echo(f"{click.get_current_context().find_root().info_name}: warning: {printable(text)}", err=True)
