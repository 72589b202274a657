"""Build the images once. On a machine that cannot build them, these tests are skipped, or fail if REQUIRE_IMAGES=1."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.images.availability import need_builder
from tests.support.images.built import Built
from tests.support.suites.recorder import tell_place
from tools.images.builder import Builder, find_base
from tools.images.make import WORK

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def builder(pytestconfig: pytest.Config) -> Builder:
    found = need_builder()
    tell_place(pytestconfig, "images", f"by {found}")
    return found


@pytest.fixture(scope="session")
def base(builder: Builder) -> str:
    return find_base(builder, ROOT / WORK)


@pytest.fixture(scope="session")
def built(builder: Builder, base: str) -> Iterator[Built]:
    """Build images under names that no other run uses, because a builder stores all checkouts' images together."""
    images = Built(builder, base, ROOT / WORK / "tests", run=str(os.getpid()))
    yield images
    images.remove()


@pytest.fixture(scope="session")
def archive_of(built: Built) -> Callable[[str], Path]:
    """Build an image on the first call, and return its archive."""
    return built.archive
