"""The console script of the simulator. It loads the program only when called, so that a missing extra can be named."""

from __future__ import annotations

from typing import NoReturn

from vsock_wire.cli.launcher import launch


def kmstool_sim() -> NoReturn:
    """Run kmstool-sim."""
    launch("kmstool-sim", "nitro_simulator.cli", extra="sim")
