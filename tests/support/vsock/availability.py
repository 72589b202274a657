"""Find out where the vsock tests can run: on this kernel, in a guest, or nowhere."""

from __future__ import annotations

import enum
import os
import shutil
import socket
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.vsock.guest import COMPILER, KERNEL
from tests.support.vsock.ports import CID_LOCAL

PROBE_TIMEOUT_S = 1.0
"""Loopback answers within a millisecond; a kernel that has vsock but no loopback never answers."""
GUEST_PROGRAMS = {
    KERNEL: "user-mode-linux",
    "insmod": "kmod",
    "ip": "iproute2",
    "setpriv": "util-linux",
    COMPILER: "build-essential",
}
"""The programs needed to boot a guest, with the Debian package of each."""
SYSTEM_FOLDERS = os.pathsep.join(("/usr/sbin", "/sbin"))
"""Folders with insmod and ip, which are not in every user's PATH."""


class Place(enum.Enum):
    """Where the vsock tests run."""

    HERE = "on this kernel"
    GUEST = "in a User Mode Linux guest"
    NOWHERE = "nowhere"


def choose_place() -> Place:
    """Return where vsock loopback is available."""
    if has_vsock_loopback():
        return Place.HERE
    return Place.NOWHERE if missing_programs() else Place.GUEST


def has_vsock_loopback() -> bool:
    """Return whether a connection to CID 1 succeeds, by making one."""
    if not hasattr(socket, "AF_VSOCK"):
        return False
    try:
        with socket.socket(socket.AF_VSOCK) as listener, socket.socket(socket.AF_VSOCK) as client:
            listener.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
            listener.listen()
            client.settimeout(PROBE_TIMEOUT_S)
            client.connect((CID_LOCAL, listener.getsockname()[1]))
    except OSError:
        return False
    return True


def missing_programs() -> list[str]:
    """Return those of GUEST_PROGRAMS that are not installed."""
    return [name for name in GUEST_PROGRAMS if find_program(name) is None]


def find_program(name: str) -> Path | None:
    """Return the path of a program in PATH or the system's folders."""
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), SYSTEM_FOLDERS)))
    return Path(found) if found else None


def refuse(*, is_required: bool) -> NoReturn:
    """End a test that cannot run here.

    Args:
        is_required: whether this is a failure.

    Raises:
        pytest.fail.Exception: it is a failure.
        pytest.skip.Exception: it is not.
    """
    missing = missing_programs()
    reason = (
        f"no vsock loopback here, and to boot a guest that has it these are missing: {', '.join(missing)}; "
        f"modprobe vsock_loopback, or on Debian apt-get install {' '.join(GUEST_PROGRAMS[name] for name in missing)}"
    )
    if is_required:
        pytest.fail(f"REQUIRE_VSOCK=1: {reason}", pytrace=False)
    pytest.skip(reason)
