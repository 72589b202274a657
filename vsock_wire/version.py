"""The version that --version shows in every tool."""

from __future__ import annotations

from pathlib import Path

from vsock_wire import __version__

COMMIT_FILE = Path(__file__).with_name("commit.txt")
"""Written when wheels, sdists and images are built; a checkout does not have it."""
MAX_COMMIT_CHARS = 64


def version_text() -> str:
    """Return the version, and the commit if it is known: ``0.1.0 (commit 0123456789ab)``."""
    try:
        with COMMIT_FILE.open(encoding="ascii") as file:
            commit = file.read(MAX_COMMIT_CHARS).strip()
    except (OSError, UnicodeError):
        commit = ""
    return f"{__version__} (commit {commit})" if commit else __version__
