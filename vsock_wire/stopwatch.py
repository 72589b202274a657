"""Elapsed time within one process."""

from __future__ import annotations

import time


def milliseconds_since(started: float) -> float:
    """Return the milliseconds since ``started``, a result of ``time.perf_counter``."""
    return round((time.perf_counter() - started) * 1_000, 3)
