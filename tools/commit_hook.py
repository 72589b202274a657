"""Stores the commit in a wheel or an sdist, for ``--version`` to show; hatchling calls this at each build."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMMIT_FILE = "vsock_wire/commit.txt"


class CommitHook(BuildHookInterface[Any]):
    """Adds COMMIT_FILE if git knows the commit; a wheel built from an sdist takes the file from there."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file, except to an editable install, because its commit changes."""
        commit = read_commit(Path(self.root))
        if version == "editable" or not commit:
            return
        with tempfile.NamedTemporaryFile("w", prefix="commit-", delete=False, encoding="utf-8") as file:
            file.write(f"{commit}\n")
        self._written = Path(file.name)
        build_data["force_include"][file.name] = COMMIT_FILE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - hatchling's
        """Remove the file that was written for the build."""
        if hasattr(self, "_written"):
            self._written.unlink()


def read_commit(root: Path) -> str:
    """Return the first 12 digits of ``root``'s commit, plus "+changes" if files differ, or an empty string."""
    if not (root / ".git").exists():
        return ""
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    return f"{commit}+changes" if commit and _git(root, "status", "--porcelain") else commit


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
