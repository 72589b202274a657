"""Ctrl-C while a program loads: it ends the process without a traceback.

Python turns SIGINT into KeyboardInterrupt, and shows a traceback if that arrives during an import. ``run_program``
replaces this, but a program loads for a tenth of a second before. Python imports this module first, so it imports only
what Python has loaded already: ``_signal`` is built in, and ``signal`` is not.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # typeshed leaves it out


def end_at_interrupts() -> None:
    """Let SIGINT end the process at once, as it ends a program that does nothing about it."""
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
