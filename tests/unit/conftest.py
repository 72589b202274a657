from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.loaders import create_loader


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose paths fit into a unix socket's address."""
    with tempfile.TemporaryDirectory(prefix="kt-") as name:
        yield Path(name)


@pytest.fixture(scope="session", autouse=True)
def _botocore_reads_its_data_once() -> Iterator[None]:
    """Keep what botocore knows of AWS's services: reading it takes most of the time that a client is made in."""
    loader = create_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", lambda *_: loader)
        yield
