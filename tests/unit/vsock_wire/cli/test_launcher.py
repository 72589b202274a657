from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vsock_wire.cli.launcher import is_missing_library, launch
from vsock_wire.errors import ExitCode

LAZY_PROGRAM = """\
import click
from vsock_wire.cli.program import run_program

@click.command()
def command():
    import {module}

def main():
    run_program("tool", command, click.ClickException)
"""


MISSING_LIBRARY = "tool: needs: pip install 'nitro-kmstool[some]'\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program's package that the test creates; it is unloaded afterwards."""
    folder = tmp_path / "some_tool"
    folder.mkdir()
    folder.joinpath("__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tool"])
    for name in ("some_tool", "some_tool.main"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder


def start() -> None:
    launch("tool", "some_tool.main", extra="some")


class TestLaunch:
    @pytest.mark.parametrize("module", ["no_such_library", "no_such_library.part"])
    def test_missing_library_prints_what_to_install_and_exits_with_2(
        self, module: str, package: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        package.joinpath("main.py").write_text(f"import {module}\n")
        with pytest.raises(SystemExit) as ended:
            start()
        assert ended.value.code == ExitCode.USAGE
        assert capsys.readouterr().err == MISSING_LIBRARY

    def test_missing_library_that_a_command_loads_late_does_the_same(
        self, package: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        package.joinpath("main.py").write_text(LAZY_PROGRAM.format(module="no_such_library"))
        with pytest.raises(SystemExit) as ended:
            start()
        assert ended.value.code == ExitCode.USAGE
        assert capsys.readouterr().err == MISSING_LIBRARY

    def test_missing_module_of_this_project_is_not_hidden(self, package: Path) -> None:
        package.joinpath("main.py").write_text("import some_tool.no_such_module\n")
        with pytest.raises(ModuleNotFoundError, match=r"some_tool\.no_such_module"):
            start()

    def test_module_of_our_own_that_a_command_loads_late_is_reported_as_a_bug(
        self, package: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        package.joinpath("main.py").write_text(LAZY_PROGRAM.format(module="some_tool.no_such_module"))
        with pytest.raises(SystemExit) as ended:
            start()
        assert ended.value.code == ExitCode.FAILED
        assert "internal error: ModuleNotFoundError; this is a bug" in capsys.readouterr().err

    def test_closed_standard_error_gets_nothing(self, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package.joinpath("main.py").write_text("import no_such_library\n")
        monkeypatch.setattr(sys, "stderr", None)
        with pytest.raises(SystemExit) as ended:
            start()
        assert ended.value.code == ExitCode.USAGE

    def test_exit_code_is_what_main_returns(self, package: Path) -> None:
        package.joinpath("main.py").write_text("def main():\n    return 5\n")
        with pytest.raises(SystemExit) as ended:
            start()
        assert ended.value.code == 5


@pytest.mark.parametrize(
    ("error", "is_library"),
    [
        (ModuleNotFoundError(name="boto3"), True),
        (ModuleNotFoundError(name="vsock_wire.nothing"), False),
        (ModuleNotFoundError(name="boto3.nothing"), False),
        (ModuleNotFoundError(name="_ctypes"), False),
        (ModuleNotFoundError("by hand"), False),
        (ImportError(name="boto3"), False),
        (ValueError("boto3"), False),
    ],
    ids=repr,
)
def test_missing_library_is_a_package_that_is_not_there_at_all(error: Exception, is_library: bool) -> None:
    assert is_missing_library(error) is is_library
