"""Runs the unit tests under each supported Python on this machine: ``python -m tools.pythons``.

Each gets its own virtual environment next to .venv, with the same locked packages, which is kept until its inputs
change. The Python that runs this program is left out: `make test` uses it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUPPORTED = ("3.11", "3.12", "3.13")
REQUIREMENTS = "requirements/dev.txt"
INSTALLED_FROM = (REQUIREMENTS, "pyproject.toml")
TESTS = ("-q", "-p", "no:cacheprovider", "-n", "auto", "--dist", "worksteal", "tests/unit")
WANTED_VERSION = "import sys; print('.'.join(map(str, sys.version_info[:3])))"


@dataclass(frozen=True)
class Interpreter:
    """A Python interpreter.

    Attributes:
        version: full version, such as 3.12.1.
    """

    path: Path
    version: str

    @property
    def minor(self) -> str:
        """The first two parts of the version, such as 3.12."""
        return minor_of(self.version)


def minor_of(version: str) -> str:
    """Return the first two parts of a version."""
    return ".".join(version.split(".")[:2])


def find(minor: str, environment: Mapping[str, str]) -> Interpreter | None:
    """Return a working Python of a version: from PATH, or the newest in pyenv."""
    for path in _candidates(minor, environment):
        version = _version_of(path)
        if version is not None and minor_of(version) == minor:
            return Interpreter(path, version)
    return None


def _candidates(minor: str, environment: Mapping[str, str]) -> Iterator[Path]:
    in_path = shutil.which(f"python{minor}", path=environment.get("PATH"))
    if in_path:
        yield Path(in_path)
    pyenv = Path(environment.get("PYENV_ROOT") or Path(environment.get("HOME", "/")) / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{minor}.*/bin/python"), key=_release_of, reverse=True)


def _release_of(path: Path) -> list[int]:
    return [int(part) for part in path.parts[-3].split(".") if part.isdecimal()]


def _version_of(path: Path) -> str | None:
    """Ask a Python for its version, because pyenv's stand-in in PATH may name one that is not selected."""
    done = subprocess.run([path, "-c", WANTED_VERSION], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def environment_for(interpreter: Interpreter) -> Path:
    """Return the Python of an interpreter's virtual environment, which is created if missing or outdated.

    Raises:
        subprocess.CalledProcessError: it cannot be created; the program's own output says why.
    """
    folder = ROOT / f".venv-{interpreter.minor}"
    python, stamp = folder / "bin" / "python", folder / ".installed"
    wanted = _digest(interpreter)
    if not stamp.exists() or stamp.read_text("utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        commands: list[list[str | Path]] = [
            [interpreter.path, "-m", "venv", folder],
            [*pip, "--require-hashes", "--requirement", REQUIREMENTS],
            [*pip, "--no-deps", "--no-build-isolation", "--editable", "."],
        ]
        for command in commands:
            subprocess.run(command, cwd=ROOT, check=True)
        stamp.write_text(wanted, "utf-8")
    return python


def _digest(interpreter: Interpreter) -> str:
    digest = hashlib.sha256(f"{interpreter.path} {interpreter.version}".encode())
    for name in INSTALLED_FROM:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def main() -> int:
    """Run the tests, print which versions were found, and return the exit code."""
    own = minor_of(sys.version.split()[0])
    found = {minor: find(minor, os.environ) for minor in SUPPORTED if minor != own}
    interpreters = [interpreter for interpreter in found.values() if interpreter]
    with ThreadPoolExecutor() as pool:
        pythons = dict(zip(interpreters, pool.map(environment_for, interpreters), strict=True))
    failed = []
    for interpreter, python in pythons.items():
        print(f"unit tests under Python {interpreter.version}:", flush=True)
        if subprocess.run([python, "-m", "pytest", *TESTS], cwd=ROOT, check=False).returncode:
            failed.append(interpreter.version)
    print(describe(own, found, failed))
    return int(bool(failed))


def describe(own: str, found: Mapping[str, Interpreter | None], failed: list[str]) -> str:
    """Return the summary line: the versions that the unit tests ran under."""
    parts = [f"{own} by make test", *(f"{python.version} found" for python in found.values() if python)]
    parts += [f"{minor} not found" for minor, python in found.items() if python is None]
    parts += [f"FAILED under {version}" for version in failed]
    return f"pythons: {', '.join(parts)}"


if __name__ == "__main__":
    sys.exit(main())
