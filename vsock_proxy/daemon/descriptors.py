"""How many connections the process's file descriptor limit allows."""

from __future__ import annotations

import contextlib
import resource

DESCRIPTORS_PER_CONNECTION = 3
"""The client, the upstream, and a second address in the race to the upstream."""
RESERVED_DESCRIPTORS = 128
"""Reserved for listeners, the pipes of bulk transfers (2 x movers.MAX_PIPES), logs, DNS and metrics."""


def choose_max_connections() -> int:
    """Raise the process's file descriptor limit as far as allowed; return how many connections fit into it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid even that; then the current limit applies
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (soft - RESERVED_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION)
