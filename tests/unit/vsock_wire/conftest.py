from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("kmstool", max_examples=60, deadline=None)
settings.load_profile("kmstool")


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose paths fit into a unix socket's address."""
    with tempfile.TemporaryDirectory(prefix="kt-") as name:
        yield Path(name)
