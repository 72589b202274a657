"""Time between two moments of one process."""

from __future__ import annotations

import time


def milliseconds_since(started: float) -> float:
    """Return how many milliseconds ago ``started`` was, which ``time.perf_counter`` gave."""
    return round((time.perf_counter() - started) * 1_000, 3)
