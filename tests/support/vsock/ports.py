"""Numbers to connect to on vsock loopback."""

from __future__ import annotations

import socket

CID_LOCAL = 1
"""VMADDR_CID_LOCAL of <linux/vm_sockets.h>: this machine; the socket module names it from Python 3.12 on."""


def free_vsock_port() -> int:
    """Return a vsock port on which nothing was listening a moment ago."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as sock:
        sock.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
        port: int = sock.getsockname()[1]
        return port
