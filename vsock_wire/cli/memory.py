"""Keeping the memory of a process that holds credentials to itself."""

from __future__ import annotations

import logging

_PR_SET_DUMPABLE = 4
"""Source: <linux/prctl.h>."""

_logger = logging.getLogger(__name__)


def keep_memory_private() -> None:
    """Turn off core dumps of this process, and reading its memory by other processes of this user.

    A limit of 0 alone does not stop the kernel from piping a dump to a program such as systemd-coredump, and does not
    stop ptrace; PR_SET_DUMPABLE does. Programs that this process runs are not affected by the latter. Source: core(5),
    prctl(2). Does nothing where the system has neither.
    """
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import ctypes  # noqa: PLC0415 - the rest of this package does without

    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None and prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        _logger.warning("this process can be traced by others of this user: prctl failed")
