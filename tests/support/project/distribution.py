"""Build the distribution, and virtual environments with it and chosen libraries, without downloads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path

from tests.support.project.requirements import closure, declared

TIMEOUT_S = 120.0


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=cwd,
        env={**os.environ, **environment},
        check=False,
    )


def build(source: Path, target: Path, kind: str) -> Path:
    """Build a wheel or an sdist from a checkout into the empty folder ``target``."""
    done = run(sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", target, cwd=source)
    assert done.returncode == 0, done.stderr
    (built,) = target.iterdir()
    return built


def make_environment(folder: Path, wheel: Path) -> Path:
    """Create a virtual environment with a wheel and no libraries; return its folder of scripts."""
    done = run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", folder / "bin" / "python")
    done = run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def link_libraries(folder: Path, *extras: str, requirements: Sequence[str] = ()) -> Path:
    """Fill ``folder`` with links to the packages that pip would install for ``extras`` and ``requirements``.

    Callers put the folder into PYTHONPATH.
    """
    for name in closure([*declared(*extras), *requirements]):
        files = distribution(name).files or ()
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            folder.joinpath(top).symlink_to(Path(str(distribution(name).locate_file(top))))
    return folder
