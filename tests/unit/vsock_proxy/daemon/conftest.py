"""A stand-in for systemd, and a config file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.proxy.lifecycle_scene import ALLOWLIST
from tests.support.proxy.service_manager import ServiceManager


@pytest.fixture
def manager(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManager]:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    with ServiceManager(short_dir, monkeypatch) as manager:
        yield manager


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(ALLOWLIST)
    return path
