"""What the tests of images need of a machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.vsock.availability import GUEST_PROGRAMS, find_program
from tools.images.builder import BUILDERS

CUSE_HEADER = Path("/usr/include/fuse3/cuse_lowlevel.h")
REQUIRED_VARIABLE = "REQUIRE_IMAGES"


def missing_packages() -> list[str]:
    """Return which Debian packages are to be installed before an image can be built and booted."""
    missing = {package for program, package in GUEST_PROGRAMS.items() if find_program(program) is None}
    if not any(shutil.which(name) for name in BUILDERS):
        missing.add("buildah")
    if not os.environ.get("BASE_IMAGE") and not shutil.which("mmdebstrap"):
        missing.add("mmdebstrap")
    if not CUSE_HEADER.exists():
        missing.add("libfuse3-dev")
    return sorted(missing)


def need_images() -> None:
    """End a test that has no image to look at.

    Raises:
        pytest.fail.Exception: REQUIRE_IMAGES=1 says that there has to be one.
        pytest.skip.Exception: it does not.
    """
    missing = missing_packages()
    if not missing and os.geteuid() == 0:
        return
    wanted = f"on Debian apt-get install {' '.join(missing)}" if missing else "run it as root"
    reason = f"images cannot be built and booted here; {wanted}"
    if os.environ.get(REQUIRED_VARIABLE) == "1":
        pytest.fail(f"{REQUIRED_VARIABLE}=1: {reason}", pytrace=False)
    pytest.skip(reason)
