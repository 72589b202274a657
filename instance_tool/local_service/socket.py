"""The unix socket that ``serve`` listens on, and the check that no other user can replace it."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from vsock_wire.errors import InputError
from vsock_wire.net.address import UnixAddress
from vsock_wire.net.sockets import listen_socket

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_ROOT = 0


@contextlib.contextmanager
def listen_private_socket(address: UnixAddress) -> Iterator[socket.socket]:
    """Listen on a socket that only this user can connect to or replace; remove it when the block ends.

    A stale socket file is replaced. Root and this user's other processes are not kept out.

    Raises:
        InputError: another user could replace the socket with their own.
        TransportError: the address cannot be bound, for example because a running server uses it.
    """
    folder = Path(address.path).absolute().parent
    _verify_folder(folder)
    listener = listen_socket(address)
    made = _identity(address)
    try:
        yield listener
    finally:
        listener.close()
        if made is not None and _identity(address) == made:  # otherwise it has been replaced since
            Path(address.path).unlink(missing_ok=True)


def _verify_folder(folder: Path) -> None:
    """Reject a folder in which another user could replace the socket: clients would then talk to that user's program.

    A parent folder that others can write to is safe if it has the sticky bit, because nobody else can rename this
    user's folder in it. The sticky bit does not make the socket's own folder safe: another user could create the socket
    first.
    """
    try:
        folder = folder.resolve(strict=True)
        states = [(path, path.stat()) for path in (folder, *folder.parents)]
    except OSError as error:
        raise InputError(f"--socket: folder {folder}: {(error.strerror or str(error)).lower()}") from error
    for path, state in states:
        is_sticky = path != folder and bool(state.st_mode & stat.S_ISVTX)
        if state.st_uid not in (_ROOT, os.geteuid()):
            raise _open_to_others(path, "belongs to another user")
        if state.st_mode & _WRITABLE_BY_OTHERS and not is_sticky:
            raise _open_to_others(path, "is writable by other users")


def _open_to_others(path: Path, problem: str) -> InputError:
    return InputError(
        f"--socket: folder {path} {problem}",
        hint="create a private folder with mkdir -m 700, or use $XDG_RUNTIME_DIR or systemd's RuntimeDirectory",
    )


def _identity(address: UnixAddress) -> tuple[int, int] | None:
    try:
        state = os.lstat(address.path)
    except OSError:
        return None
    return state.st_dev, state.st_ino
