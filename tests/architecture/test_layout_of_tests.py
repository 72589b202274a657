"""The layout of tests/: shared code is in tests/support, so that a test module can be moved and run alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
MOST_MODULES = 14
MOST_LINES = 400
PROGRAMS = ("tests.fuzz.targets.", "tests.run.")
"""What tests/ contains besides tests and their support code; it has tests of its own."""


def imported_tests(path: Path) -> Iterator[str]:
    """Yield the full name of everything in tests/ that a file imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "tests")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "tests":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importing_files() -> list[Path]:
    files = [path for path in TESTS.rglob("*.py") if path.name.startswith("test_") or path.name == "conftest.py"]
    return files + sorted((TESTS / "support").rglob("*.py"))


def test_shared_code_of_tests_is_in_support() -> None:
    files = importing_files()
    assert len(files) > 150
    found = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imported_tests(path)
        if not f"{name}.".startswith(("tests.support.", *PROGRAMS))
    }
    assert found == set()


def test_no_folder_of_support_code_has_more_than_fourteen_modules() -> None:
    support = TESTS / "support"
    for folder in (support, *(path for path in support.rglob("*") if path.is_dir())):
        modules = [path for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()]
        assert len([path for path in modules if path.name != "__pycache__"]) <= MOST_MODULES, folder


def test_no_file_of_tests_is_too_long() -> None:
    sizes = {path: len(path.read_text("utf-8").splitlines()) for path in TESTS.rglob("*.py")}
    assert len(sizes) > 200
    assert {str(path.relative_to(ROOT)): size for path, size in sizes.items() if size > MOST_LINES} == {}
