"""The unix socket that ``serve`` listens on, and the check that no other user can replace it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from instance_tool.local_service.folder import verify_private_folder
from vsock_wire.net.address import UnixAddress
from vsock_wire.net.sockets import listen_socket


@contextlib.contextmanager
def listen_private_socket(address: UnixAddress) -> Iterator[socket.socket]:
    """Listen on a socket that only this user can connect to or replace; remove it when the block ends.

    A stale socket file is replaced. Root and this user's other processes are not kept out.

    Raises:
        InputError: another user could replace the socket with their own.
        TransportError: the address cannot be bound, for example because a running server uses it.
    """
    verify_private_folder(Path(address.path).absolute().parent)
    listener = listen_socket(address)
    made = _identity(address)
    try:
        yield listener
    finally:
        listener.close()
        if made is not None and _identity(address) == made:  # otherwise it has been replaced since
            Path(address.path).unlink(missing_ok=True)


def _identity(address: UnixAddress) -> tuple[int, int] | None:
    try:
        state = os.lstat(address.path)
    except OSError:
        return None
    return state.st_dev, state.st_ino
