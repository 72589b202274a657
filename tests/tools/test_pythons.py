"""Which Pythons the unit tests run under, with stand-ins that print a version."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import pythons
from tools.pythons import Interpreter, describe, find


def stand_in(path: Path, version: str | None) -> Path:
    """Write a Python that prints a version or, like a shim of pyenv, reports that no version is selected."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version}\n" if version else "#!/bin/sh\nexit 127\n", "utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}


def test_one_in_path_comes_first(tmp_path: Path, environment: dict[str, str]) -> None:
    stand_in(tmp_path / ".pyenv/versions/3.12.9/bin/python", "3.12.9")
    path = stand_in(tmp_path / "bin/python3.12", "3.12.1")
    assert find("3.12", environment) == Interpreter(path, "3.12.1")


def test_newest_of_pyenv_is_used_if_path_has_only_a_shim(tmp_path: Path, environment: dict[str, str]) -> None:
    stand_in(tmp_path / "bin/python3.12", None)
    stand_in(tmp_path / ".pyenv/versions/3.12.9/bin/python", "3.12.9")
    newest = stand_in(tmp_path / ".pyenv/versions/3.12.10/bin/python", "3.12.10")
    assert find("3.12", environment) == Interpreter(newest, "3.12.10")


def test_pyenv_may_be_elsewhere(tmp_path: Path, environment: dict[str, str]) -> None:
    path = stand_in(tmp_path / "pyenv/versions/3.13.0/bin/python", "3.13.0")
    assert find("3.13", environment | {"PYENV_ROOT": str(tmp_path / "pyenv")}) == Interpreter(path, "3.13.0")


def test_another_version_is_not_used(tmp_path: Path, environment: dict[str, str]) -> None:
    stand_in(tmp_path / "bin/python3.13", "3.14.0")
    assert find("3.13", environment) is None


def test_environment_is_recreated_only_when_its_inputs_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def run(command: list[object], **_: object) -> None:
        calls.append(" ".join(map(str, command[1:4])))
        (tmp_path / ".venv-3.12").mkdir(exist_ok=True)

    monkeypatch.setattr(pythons, "ROOT", tmp_path)
    monkeypatch.setattr(subprocess, "run", run)
    for name in pythons.INSTALLED_FROM:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("first", "utf-8")
    interpreter = Interpreter(Path("/usr/bin/python3.12"), "3.12.1")
    for _ in range(2):
        assert pythons.environment_for(interpreter) == tmp_path / ".venv-3.12/bin/python"
    assert len(calls) == 3
    assert calls[0] == f"-m venv {tmp_path}/.venv-3.12"
    (tmp_path / pythons.REQUIREMENTS).write_text("second", "utf-8")
    pythons.environment_for(interpreter)
    assert len(calls) == 6


def test_line_says_what_was_found_and_what_failed() -> None:
    found = {"3.12": Interpreter(Path("python3.12"), "3.12.1"), "3.13": None}
    assert describe("3.11", found, []) == "pythons: 3.11 by make test, 3.12.1 found, 3.13 not found"
    assert describe("3.11", found, ["3.12.1"]).endswith(", FAILED under 3.12.1")
