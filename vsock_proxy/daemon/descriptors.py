"""How many file descriptors the process may have."""

from __future__ import annotations

import contextlib
import resource


def raise_descriptor_limit() -> None:
    """Raise the process's file descriptor limit as far as allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid even that; then the current limit applies
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
