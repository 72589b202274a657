"""Entropy for a machine that has just booted: random bytes from the NSM, credited to the kernel's pool."""

from __future__ import annotations

import fcntl
import logging
import os
import struct
from pathlib import Path

from enclave_tool.errors import NsmError
from enclave_tool.nsm.device import Nsm

SEED_BYTES = 1_024
"""The same as in kmstool in C; the kernel's pool itself has the strength of 32 bytes."""
RANDOM_DEVICE = Path("/dev/random")
RNDADDENTROPY = 0x4008_5203
"""_IOW('R', 0x03, int[2]). Source: random(4), <uapi/linux/random.h>."""

_logger = logging.getLogger(__name__)


def seed_kernel_entropy(nsm: Nsm) -> None:
    """Add random bytes from the module to the kernel's pool and credit them; call it before any key is generated.

    kmstool in C does this inside an assertion, which release builds drop. Here, a failure prevents the start. Does
    nothing with a simulated module, which is not a source of entropy.

    Raises:
        NsmError: the module returned no bytes, or the kernel did not accept them.
    """
    if not nsm.is_device:
        _logger.info("entropy: kernel not seeded, because the NSM is simulated")
        return
    credit_kernel_entropy(nsm.random(SEED_BYTES))
    _logger.info("entropy: credited %d bytes from the NSM to the kernel", SEED_BYTES)


def credit_kernel_entropy(random: bytes) -> None:
    """Add ``random`` to the kernel's pool, credited as 8 bits per byte. Needs CAP_SYS_ADMIN.

    Raises:
        NsmError: the kernel did not accept them.
    """
    # struct rand_pool_info: int entropy_count (bits), int buf_size (bytes), then the bytes.
    pool_info = struct.pack("@ii", len(random) * 8, len(random)) + random
    try:
        fd = os.open(RANDOM_DEVICE, os.O_WRONLY | os.O_CLOEXEC)
        try:
            # Python passes a writable buffer to the kernel directly; an immutable one may have at most 1,024 bytes.
            fcntl.ioctl(fd, RNDADDENTROPY, bytearray(pool_info))
        finally:
            os.close(fd)
    except OSError as error:
        raise NsmError(
            "entropy",
            f"the kernel did not accept it: {(error.strerror or str(error)).lower()}",
            hint="to credit entropy, the program must run as root (CAP_SYS_ADMIN)",
        ) from error
