from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose paths fit into a unix socket's address."""
    with tempfile.TemporaryDirectory(prefix="kt-") as name:
        yield Path(name)
