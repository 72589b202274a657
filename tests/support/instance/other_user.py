"""A second user on this machine: what one user's programs must not accept from another. Without root, the
other user is this one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from vsock_wire.net.address import UnixAddress

OTHER_UID = 12_345
"""A user id that no account of the test machine has."""


def as_other_user(act: Callable[[], None], uid: int = OTHER_UID) -> int:
    """Run ``act`` in a child process of another user, and return the child's exit code: 0 if it raised nothing."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _become(uid)
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextlib.contextmanager
def foreign_listener(folder: Path, uid: int = OTHER_UID) -> Iterator[UnixAddress]:
    """Have another user listen on a socket that everybody can connect to, until the block ends."""
    theirs = folder / "theirs"
    theirs.mkdir()
    if os.geteuid() == 0:
        os.chown(theirs, uid, uid)
    address = UnixAddress(str(theirs / "s"))
    ready, is_ready = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _become(uid)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
                listener.bind(address.path)
                Path(address.path).chmod(0o777)
                listener.listen(16)
                os.write(is_ready, b"x")
                signal.pause()
        finally:
            os._exit(1)
    os.close(is_ready)
    try:
        if os.read(ready, 1) != b"x":
            raise AssertionError("the other user's program did not start")
        yield address
    finally:
        os.close(ready)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _become(uid: int) -> None:
    if os.geteuid() != 0:
        return
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
