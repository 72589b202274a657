"""The console script of the simulator. It loads the program when called, so that it can name a missing extra."""

from __future__ import annotations

from typing import NoReturn

from vsock_wire.cli.launcher import launch


def kmstool_sim() -> NoReturn:
    """Run kmstool-sim."""
    launch("kmstool-sim", "nitro_simulator.cli", extra="sim")
