"""Run a command for which the kernel refuses vsock sockets with EPERM, as with Docker's seccomp profile."""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
RETURN_ERRNO = 0x0005_0000
RETURN_ALLOW = 0x7FFF_0000
LOAD_WORD = 0x20
JUMP_IF_EQUAL = 0x15
RETURN = 0x06
EPERM = 1
OFFSET_OF_NUMBER = 0
OFFSET_OF_FIRST_ARGUMENT = 16
SOCKET_NUMBERS = {"x86_64": 41, "aarch64": 198}
"""Number of the system call, from <asm/unistd.h>. Others: <linux/prctl.h>, <linux/seccomp.h>, <linux/bpf_common.h>."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def forbid_vsock() -> None:
    """Make every later socket(AF_VSOCK, ...) of this process and its children fail."""
    number = SOCKET_NUMBERS[platform.machine()]
    instructions = [
        (LOAD_WORD, 0, 0, OFFSET_OF_NUMBER),
        (JUMP_IF_EQUAL, 0, 3, number),
        (LOAD_WORD, 0, 0, OFFSET_OF_FIRST_ARGUMENT),
        (JUMP_IF_EQUAL, 0, 1, socket.AF_VSOCK),
        (RETURN, 0, 0, RETURN_ERRNO | EPERM),
        (RETURN, 0, 0, RETURN_ALLOW),
    ]
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    program = _Program(len(instructions), code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    forbid_vsock()
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - what the test names
