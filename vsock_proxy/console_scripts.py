"""The console script of the proxy. It loads the program when called, so that it can name a missing extra."""

from __future__ import annotations

from typing import NoReturn

from vsock_wire.cli.launcher import launch


def vsock_proxy() -> NoReturn:
    """Run vsock-proxy."""
    launch("vsock-proxy", "vsock_proxy.cli", extra="proxy")
