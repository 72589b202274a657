"""The wheel of the current commit, built once for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.project.distribution import build, run
from tests.support.project.packages import ROOT


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone, because the files of the checkout itself can change during the test."""
    folder = tmp_path_factory.mktemp("checkout") / "clone"
    done = run("git", "clone", "--quiet", ROOT, folder, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(checkout, tmp_path_factory.mktemp("wheel"), "wheel")
