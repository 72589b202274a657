"""The recorder of a call's steps: ``record`` keeps a step if the call is being traced (pure).

This is a separate module from ``vsock_wire.protocol.trace``, which defines the steps: every call uses ``is_recording``,
but only a call with ``--explain`` should pay for loading nine dataclasses and their encoding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_recorder: ContextVar[list[object] | None] = ContextVar("recorder", default=None)


@contextlib.contextmanager
def recording() -> Iterator[list[object]]:
    """Collect the steps that this thread passes to ``record``, in order, until the block ends."""
    steps: list[object] = []
    token = _recorder.set(steps)
    try:
        yield steps
    finally:
        _recorder.reset(token)


def is_recording() -> bool:
    """Return whether ``record`` keeps steps in this thread."""
    return _recorder.get() is not None


def record(step: object) -> None:
    """Add a step to the recording of this thread, if there is one."""
    steps = _recorder.get()
    if steps is not None:
        steps.append(step)
