"""Where the vsock tests can run: on this kernel, in a guest, or nowhere."""

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
"""Loopback answers within a millisecond; a kernel with vsock but without loopback does not answer at all."""
GUEST_PROGRAMS = {
    KERNEL: "user-mode-linux",
    "insmod": "kmod",
    "ip": "iproute2",
    "setpriv": "util-linux",
    COMPILER: "build-essential",
}
"""What a guest is booted with, and the Debian package each is in."""
SYSTEM_FOLDERS = os.pathsep.join(("/usr/sbin", "/sbin"))
"""Not in every user's PATH; insmod and ip are there."""


class Place(enum.Enum):
    """Where the vsock tests run."""

    HERE = "on this kernel"
    GUEST = "in a User Mode Linux guest"
    NOWHERE = "nowhere"


def choose_place() -> Place:
    """Find out where vsock loopback is to be had."""
    if has_vsock_loopback():
        return Place.HERE
    return Place.NOWHERE if missing_programs() else Place.GUEST


def has_vsock_loopback() -> bool:
    """Tell whether a connection to CID 1 gets through, by making one."""
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
    """Return which of GUEST_PROGRAMS are not installed."""
    return [name for name in GUEST_PROGRAMS if find_program(name) is None]


def find_program(name: str) -> Path | None:
    """Return where a program is, in PATH or the system's folders."""
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), SYSTEM_FOLDERS)))
    return Path(found) if found else None


def refuse(*, is_required: bool) -> NoReturn:
    """End a test that has no place to run.

    Args:
        is_required: whether absence counts as a failure.

    Raises:
        pytest.fail.Exception: it does.
        pytest.skip.Exception: it does not.
    """
    missing = missing_programs()
    reason = (
        f"no vsock loopback here, and to boot a guest that has it these are missing: {', '.join(missing)}; "
        f"modprobe vsock_loopback, or on Debian apt-get install {' '.join(GUEST_PROGRAMS[name] for name in missing)}"
    )
    if is_required:
        pytest.fail(f"REQUIRE_VSOCK=1: {reason}", pytrace=False)
    pytest.skip(reason)
