"""The console scripts of the enclave. They load a program only when called, so that they can name a missing extra."""

from __future__ import annotations

from vsock_wire.cli.interruption import end_at_interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn  # loading typing takes longer than everything else here


def kmstool_enclave() -> NoReturn:
    """Run kmstool-enclave."""
    end_at_interrupts()
    from vsock_wire.cli.launcher import launch  # noqa: PLC0415 - after the line above

    launch("kmstool-enclave", "enclave_tool.commands.kmstool_enclave", extra="enclave")


def kmstool_enclave_cli() -> NoReturn:
    """Run kmstool-enclave-cli."""
    end_at_interrupts()
    from vsock_wire.cli.launcher import launch  # noqa: PLC0415 - after the line above

    launch("kmstool-enclave-cli", "enclave_tool.commands.kmstool_enclave_cli", extra="enclave")
