"""Checks spelling and Markdown in every text file that git tracks: ``python -m tools.proofread``.

codespell finds common misspellings and British forms; ``tools/spelling.txt`` lists words that it must accept. rumdl
checks line length, headings and links in Markdown. ``pyproject.toml`` configures both. ``tools.wording`` checks
phrases.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.wording import texts

PROGRAMS = Path(sys.executable).parent


def misspellings(paths: Sequence[str]) -> list[str]:
    """Return one line for each misspelling in the files."""
    return _lines([str(PROGRAMS / "codespell"), "--disable-colors", *paths])


def markdown_faults(paths: Sequence[str]) -> list[str]:
    """Return one line for each fault in the Markdown files."""
    return _lines([str(PROGRAMS / "rumdl"), "check", "--quiet", "--no-cache", "--output-format", "concise", *paths])


def main() -> int:
    """Print what is wrong; return 1 if anything is."""
    paths = [path for path, _ in texts()]
    found = misspellings(paths) + markdown_faults([path for path in paths if path.endswith(".md")])
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


def _lines(command: Sequence[str]) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.stderr:
        raise RuntimeError(f"{Path(command[0]).name}: {done.stderr.strip()}")
    return done.stdout.splitlines()


if __name__ == "__main__":
    sys.exit(main())
