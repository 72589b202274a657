"""The recorder of a call's steps: ``record`` keeps a step where somebody asked for the trace of this call (pure).

A module apart from ``vsock_wire.protocol.trace``, which defines the steps: every call asks ``is_recording``, but only a
call with ``--explain`` should pay for loading nine dataclasses and their encoding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_recorder: ContextVar[list[object] | None] = ContextVar("recorder", default=None)


@contextlib.contextmanager
def recording() -> Iterator[list[object]]:
    """Gather what ``record`` is given in this thread, in order, until the block ends."""
    steps: list[object] = []
    token = _recorder.set(steps)
    try:
        yield steps
    finally:
        _recorder.reset(token)


def is_recording() -> bool:
    """Return whether ``record`` keeps what it is given."""
    return _recorder.get() is not None


def record(step: object) -> None:
    """Add a step to the recording of this thread, where there is one."""
    steps = _recorder.get()
    if steps is not None:
        steps.append(step)
