"""The console script of the instance. It loads the program only when called, so that a missing extra can be named."""

from __future__ import annotations

from typing import NoReturn

from vsock_wire.cli.launcher import launch


def kmstool_instance() -> NoReturn:
    """Run kmstool-instance."""
    launch("kmstool-instance", "instance_tool.main", extra="instance")
