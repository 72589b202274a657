"""The console script of the instance. It loads the program only when called, so that a missing extra can be named."""

from __future__ import annotations

import gc
from typing import NoReturn

from vsock_wire.cli.launcher import launch

ALLOCATIONS_PER_COLLECTION = 10_000
"""Instead of Python's 700. Nearly all that is allocated while the program loads stays until its end, and looking for
garbage among it takes a fiftieth of a decrypt."""


def kmstool_instance() -> NoReturn:
    """Run kmstool-instance."""
    gc.set_threshold(ALLOCATIONS_PER_COLLECTION)
    launch("kmstool-instance", "instance_tool.main", extra="instance")
