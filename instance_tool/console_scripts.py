"""The console script of the instance. It loads the program when called, so that it can name a missing extra."""

from __future__ import annotations

import gc
from typing import NoReturn

from vsock_wire.cli.launcher import launch

ALLOCATIONS_PER_COLLECTION = 10_000
"""Python's default is 700. Nearly everything that is allocated while the program loads lives until it exits, and
collecting garbage at the default rate takes a fiftieth of a decrypt's time."""


def kmstool_instance() -> NoReturn:
    """Run kmstool-instance."""
    gc.set_threshold(ALLOCATIONS_PER_COLLECTION)
    launch("kmstool-instance", "instance_tool.main", extra="instance")
