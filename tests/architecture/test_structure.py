"""The structure of the sources: sizes of folders, modules and functions, and no import cycles."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.project.packages import PACKAGES, ROOT, source_files

MAX_ENTRIES = 14
"""Modules and subpackages in one folder, ``__init__`` not counted."""
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 39
"""From ``def`` to the last line, without the docstring: functions stay under 40 lines."""

FOLDERS = sorted({path.parent for path in source_files(*PACKAGES)})
MODULES = source_files(*PACKAGES, "tools", "bench")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def entries(folder: Path) -> list[str]:
    """Return the modules and subpackages directly in ``folder``."""
    return [
        path.name
        for path in folder.iterdir()
        if (path.suffix == ".py" and path.name != "__init__.py") or (path / "__init__.py").exists()
    ]


def function_lines(source: str) -> dict[str, int]:
    """Return the number of lines of each function, by its name and first line."""
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, Function))
    return {f"{node.name}:{node.lineno}": _lines_of(node) for node in functions}


def _lines_of(function: Function) -> int:
    documentation = function.body[0]
    lines = _height(function)
    return lines - _height(documentation) if ast.get_docstring(function) is not None else lines


def _height(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def imported_modules(source: str, known: Iterable[str]) -> Iterator[str]:
    """Yield each of the ``known`` modules that a source imports, anywhere in it.

    Imports inside functions and for type checkers count as well, because they are dependencies too.
    """
    modules = frozenset(known)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in names if name in modules)
            if node.module in modules and not modules.issuperset(names):
                yield node.module


def find_cycle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the nodes of one cycle, with the first node at both ends; empty if there is none."""
    done: set[str] = set()

    def visit(node: str, path: tuple[str, ...]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for other in graph.get(node, ()):
            if cycle := visit(other, (*path, node)):
                return cycle
        done.add(node)
        return []

    return next((cycle for node in graph if (cycle := visit(node, ()))), [])


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_folder_has_few_modules_at_one_level(folder: Path) -> None:
    assert len(entries(folder)) <= MAX_ENTRIES, sorted(entries(folder))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_and_its_functions_are_short(path: Path) -> None:
    source = path.read_text("utf-8")
    assert len(source.splitlines()) <= MAX_MODULE_LINES
    assert {name: lines for name, lines in function_lines(source).items() if lines > MAX_FUNCTION_LINES} == {}


def test_no_module_imports_itself_through_others() -> None:
    paths = {module_name(path): path for path in source_files(*PACKAGES)}
    graph = {name: sorted(imported_modules(path.read_text("utf-8"), paths)) for name, path in paths.items()}
    assert sum(map(len, graph.values())) > len(graph)
    assert find_cycle(graph) == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_package_without_public_names_says_that_it_is_internal(folder: Path) -> None:
    source = (folder / "__init__.py").read_text("utf-8")
    documentation = ast.get_docstring(ast.parse(source)) or ""
    has_public_names = re.search(r"^ *__all__ = \[", source, re.MULTILINE)
    assert has_public_names or re.search(r"\binternal\b", documentation, re.IGNORECASE)


class TestReaders:
    def test_docstring_and_decorators_are_not_lines_of_a_function(self) -> None:
        source = '@decorator\ndef f():\n    """One.\n\n    Two.\n    """\n    return 1\n\n\nasync def g():\n    pass\n'
        assert function_lines(source) == {"f:2": 2, "g:10": 2}

    def test_entries_are_modules_and_subpackages(self, tmp_path: Path) -> None:
        for name in ("__init__.py", "module.py", "data.yaml", "part/__init__.py", "folder/file.txt"):
            tmp_path.joinpath(name).parent.mkdir(exist_ok=True)
            tmp_path.joinpath(name).touch()
        assert sorted(entries(tmp_path)) == ["module.py", "part"]

    def test_imports_are_seen_wherever_they_stand(self) -> None:
        source = (
            "import a.b\nfrom a import c\nfrom a.d import name\nimport os\n"
            "if TYPE_CHECKING:\n    from e import Name\ndef f():\n    import g\n"
        )
        known = ["a", "a.b", "a.c", "a.d", "e", "g"]
        assert sorted(imported_modules(source, known)) == ["a.b", "a.c", "a.d", "e", "g"]

    def test_cycle_is_found_and_named(self) -> None:
        assert find_cycle({"a": ["b"], "b": ["c", "d"], "c": [], "d": ["b"]}) == ["b", "d", "b"]
        assert find_cycle({"a": ["a"]}) == ["a", "a"]
        assert find_cycle({"a": ["b", "c"], "b": ["c"], "c": []}) == []
