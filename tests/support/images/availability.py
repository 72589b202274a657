"""What the tests of images need on a machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.vsock.availability import GUEST_PROGRAMS, find_program
from tools.images.builder import Builder
from tools.images.builder_choice import BUILDERS, NoBuilderError, choose_builder

CUSE_HEADER = Path("/usr/include/fuse3/cuse_lowlevel.h")
REQUIRED_VARIABLE = "REQUIRE_IMAGES"


def missing_packages() -> list[str]:
    """Return the Debian packages that are missing for building and booting an image."""
    missing = {package for program, package in GUEST_PROGRAMS.items() if find_program(program) is None}
    if not any(shutil.which(name) for name in (os.environ.get("BUILDER"), *BUILDERS) if name):
        missing.add("buildah")
    if not os.environ.get("BASE_IMAGE") and not shutil.which("mmdebstrap"):
        missing.add("mmdebstrap")
    if not CUSE_HEADER.exists():
        missing.add("libfuse3-dev")
    return sorted(missing)


def need_images() -> None:
    """End a test on a machine that cannot build images.

    Raises:
        pytest.fail.Exception: REQUIRE_IMAGES=1 is set.
        pytest.skip.Exception: it is not set.
    """
    missing = missing_packages()
    if missing:
        _refuse(f"on Debian apt-get install {' '.join(missing)}")
    if os.geteuid() != 0:
        _refuse("run it as root")


def need_builder() -> Builder:
    """Return the program that builds images here, or end the test as ``need_images`` does."""
    need_images()
    try:
        return choose_builder(os.environ)
    except NoBuilderError as error:
        _refuse(str(error))


def _refuse(wanted: str) -> NoReturn:
    reason = f"images cannot be built and booted here; {wanted}"
    if os.environ.get(REQUIRED_VARIABLE) == "1":
        pytest.fail(f"{REQUIRED_VARIABLE}=1: {reason}", pytrace=False)
    pytest.skip(reason)
