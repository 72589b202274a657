"""The console scripts of the instance. They load a program when called, so that they can name a missing extra."""

from __future__ import annotations

from vsock_wire.cli.interruption import end_at_interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn  # loading typing takes longer than everything else here

ALLOCATIONS_PER_COLLECTION = 10_000
"""Python's default is 700. Nearly everything that is allocated while the program loads lives until it exits, and
collecting garbage at the default rate takes a fiftieth of a decrypt's time."""


def kmstool_instance() -> NoReturn:
    """Run kmstool-instance."""
    end_at_interrupts()
    import gc  # noqa: PLC0415 - after the line above

    from vsock_wire.cli.launcher import launch  # noqa: PLC0415

    gc.set_threshold(ALLOCATIONS_PER_COLLECTION)
    launch("kmstool-instance", "instance_tool.main", extra="instance")


def kmstool_eif() -> NoReturn:
    """Run kmstool-eif."""
    end_at_interrupts()
    from vsock_wire.cli.launcher import launch  # noqa: PLC0415 - after the line above

    launch("kmstool-eif", "instance_tool.eif.main", extra="instance")
