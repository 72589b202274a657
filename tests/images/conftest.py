"""Builds the images once, where that can be done; else these tests are skipped, or fail if REQUIRE_IMAGES=1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.images.availability import need_images
from tools.images.builder import Builder, find_base, find_builder
from tools.images.make import WORK, saved, tag

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def builder() -> Builder:
    need_images()
    return find_builder()


@pytest.fixture(scope="session")
def base(builder: Builder) -> str:
    return find_base(builder, ROOT / WORK)


@pytest.fixture(scope="session")
def archive_of(builder: Builder, base: str) -> Callable[[str], Path]:
    """Build an image, and return its archive."""
    built: dict[str, Path] = {}

    def build(image: str) -> Path:
        if image not in built:
            builder.build(image, tag(image), base=base, cached=True)
            built[image] = ROOT / saved(image)
            builder.save(tag(image), built[image])
        return built[image]

    return build
