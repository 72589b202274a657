"""The console script of the proxy. It loads the program when called, so that it can name a missing extra."""

from __future__ import annotations

from vsock_wire.cli.interruption import end_at_interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn  # loading typing takes longer than everything else here


def vsock_proxy() -> NoReturn:
    """Run vsock-proxy."""
    end_at_interrupts()
    from vsock_wire.cli.launcher import launch  # noqa: PLC0415 - after the line above

    launch("vsock-proxy", "vsock_proxy.cli", extra="proxy")
