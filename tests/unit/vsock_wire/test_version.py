from __future__ import annotations

from pathlib import Path

import pytest

from vsock_wire import __version__, version
from vsock_wire.version import MAX_COMMIT_CHARS, version_text


@pytest.fixture
def commit_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(version, "COMMIT_FILE", tmp_path / "commit.txt")
    return tmp_path / "commit.txt"


def test_commit_is_shown_if_it_is_known(commit_file: Path) -> None:
    commit_file.write_text("0123456789ab\n")
    assert version_text() == f"{__version__} (commit 0123456789ab)"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_version_is_shown_alone_if_the_commit_is_unknown(commit_file: Path, content: bytes | None) -> None:
    if content is not None:
        commit_file.write_bytes(content)
    assert version_text() == __version__


def test_long_commit_file_is_truncated(commit_file: Path) -> None:
    commit_file.write_text("a" * 1_000)
    assert version_text() == f"{__version__} (commit {'a' * MAX_COMMIT_CHARS})"
