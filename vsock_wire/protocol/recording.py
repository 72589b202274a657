"""Recording of the steps of a call: whoever takes one names it here, and it is kept only where somebody asked for it.

Apart from ``vsock_wire.protocol.trace``, which says what steps there are: a call that nobody records loads this alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar

EXPLAIN = "Explain"
"""The field of a request that asks for EVIDENCE; kmstool in C ignores it."""
EVIDENCE = "Evidence"
"""The field of the reply, Ok or Error, that lists the steps."""

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
    """Return whether what ``record`` is given goes anywhere."""
    return _recorder.get() is not None


def record(step: object) -> None:
    """Add a step to the recording of this thread, where there is one."""
    steps = _recorder.get()
    if steps is not None:
        steps.append(step)


def milliseconds_since(started: float) -> float:
    """Return how long ago ``started`` was, which ``time.perf_counter`` gave."""
    return round((time.perf_counter() - started) * 1_000, 3)
