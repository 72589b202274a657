"""What --version of every tool shows."""

from __future__ import annotations

from pathlib import Path

from vsock_wire import __version__

COMMIT_FILE = Path(__file__).with_name("commit.txt")
"""Written into wheels, sdists and images when they are built; a checkout has none."""
MAX_COMMIT_CHARS = 64


def version_text() -> str:
    """Return the version and, where it is known, the commit: ``0.1.0 (commit 0123456789ab)``."""
    try:
        with COMMIT_FILE.open(encoding="ascii") as file:
            commit = file.read(MAX_COMMIT_CHARS).strip()
    except (OSError, UnicodeError):
        commit = ""
    return f"{__version__} (commit {commit})" if commit else __version__
