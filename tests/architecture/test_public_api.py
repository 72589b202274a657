"""The public names are those that each public package declares, and callers can import every type in them."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project.packages import PACKAGES, ROOT
from tests.support.project.public_signatures import Mention, SignatureReader
from tools import public_api
from tools.public_api import PUBLIC_PACKAGES


def init_of(package: str) -> Path:
    return ROOT.joinpath(*package.split("."), "__init__.py")


def declared(package: str) -> list[str]:
    """Return ``__all__`` as the source has it: a literal, which tools can read without importing."""
    for statement in ast.parse(init_of(package).read_text("utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(statement.value)
            return names
    return []


def imported_for_type_checkers(package: str) -> set[str]:
    for statement in ast.parse(init_of(package).read_text("utf-8")).body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            return {alias.name for node in statement.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    return set()


def test_public_packages_are_those_with_a_list_of_names() -> None:
    inits = [path for package in PACKAGES for path in (ROOT / package).rglob("__init__.py")]
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in inits}
    assert {package for package in packages if declared(package)} == set(PUBLIC_PACKAGES)


def test_command_prints_the_declared_names(capsys: pytest.CaptureFixture[str]) -> None:
    public_api.main()
    printed: dict[str, list[str]] = {}
    for line in capsys.readouterr().out.splitlines():
        if not line.startswith(" "):
            names = printed.setdefault(line.partition(":")[0], [])
        else:
            names.append(line.split()[0])
            assert len(line.split()) > 1, f"{line}: not documented"
    assert printed == {package: declared(package) for package in PUBLIC_PACKAGES}


@pytest.mark.parametrize("package", PUBLIC_PACKAGES)
class TestPackage:
    def test_every_name_exists_once_and_type_checkers_see_the_same(self, package: str) -> None:
        names = declared(package)
        assert len(set(names)) == len(names)
        module = importlib.import_module(package)
        assert [name for name in names if not hasattr(module, name)] == []
        assert set(names) <= set(dir(module))
        assert imported_for_type_checkers(package) == set(names)

    def test_has_no_public_name_that_is_not_declared(self, package: str) -> None:
        found = {
            name
            for name, value in vars(importlib.import_module(package)).items()
            if not (name.startswith("_") or inspect.ismodule(value) or name == "TYPE_CHECKING")
        }
        assert found - set(declared(package)) == set()

    def test_name_that_does_not_exist_is_an_attribute_error(self, package: str) -> None:
        with pytest.raises(AttributeError, match="no_such_name"):
            _ = importlib.import_module(package).no_such_name

    def test_type_checkers_do_not_take_any_name(self, package: str) -> None:
        """With a visible ``__getattr__``, they would accept every misspelled name."""
        functions = [node for node in ast.parse(init_of(package).read_text("utf-8")).body if hasattr(node, "args")]
        assert functions == []

    def test_docstring_has_an_example_and_names_what_is_public(self, package: str) -> None:
        text = importlib.import_module(package).__doc__ or ""
        example = text.partition("::\n")[2].partition("\n\n\n")[0]
        assert f"from {package} import " in example
        assert "internal" in text

    def test_loads_no_library_and_none_of_its_own_modules(self, package: str) -> None:
        program = (
            f"import sys; before = {{*sys.modules}}; import {package}\n"
            "print(*sorted({name.partition('.')[0] for name in {*sys.modules} - before} - sys.stdlib_module_names))\n"
            f"print(*sorted(name for name in sys.modules if name.startswith('{package}.')))"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
        assert done.stdout.splitlines() == [package.partition(".")[0], ""]

    def test_all_our_types_in_a_signature_can_be_imported(self, package: str) -> None:
        leaks = SignatureReader(PACKAGES).leaks(package, PUBLIC_PACKAGES)
        assert sorted(f"{leak.where} mentions {leak.module}.{leak.name}" for leak in leaks) == []


INIT = """\
from leaky.hidden import *
__all__ = ["CONSTANT", "Record", "Shown", "ShownError", "public"]
"""
HIDDEN = """\
from __future__ import annotations
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar, overload
if TYPE_CHECKING:
    from leaky.checked import OnlyChecked

T = TypeVar("T")
Alias: TypeAlias = dict[str, int]
class Argument: ...
class Result: ...
class Field: ...
class Read: ...
class Cached: ...
class Annotated: ...
class Made: ...
class Nested: ...
class Variant: ...
class Kind: ...
class Item: ...
class RootError(Exception): ...
class ShownError(RootError): ...
CONSTANT = Kind()

@overload
def public(argument: Variant) -> None: ...
@overload
def public(argument: Argument) -> list[Result] | None: ...
def public(argument, only: OnlyChecked = None, more: Alias = None, deep: "dict[str, Nested]" = None, any: T = None):
    return None

class Record(NamedTuple):
    item: Item

@dataclass
class Data:
    field: Field
    _private: int

class Shown(Data):
    def __init__(self) -> None:
        self.annotated: Annotated | None = None
        self.made = Made()
        self._private = Argument()
    @property
    def read(self) -> Read: ...
    @functools.cached_property
    def cached(self) -> Cached: ...
    def _private_method(self, x: Kind) -> Kind: ...
"""


class TestSignatureReader:
    @pytest.fixture
    def leaks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> set[Mention]:
        """Return what the reader finds in a package that exports none of the types that it mentions."""
        folder = tmp_path / "leaky"
        folder.mkdir()
        folder.joinpath("__init__.py").write_text(INIT)
        folder.joinpath("hidden.py").write_text(HIDDEN)
        folder.joinpath("checked.py").write_text("class OnlyChecked: ...\n")
        monkeypatch.syspath_prepend(tmp_path)
        for name in ("leaky", "leaky.hidden", "leaky.checked"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        return SignatureReader({"leaky"}).leaks("leaky", ["leaky"])

    def test_sees_every_way_to_mention_a_type_and_no_private_one(self, leaks: set[Mention]) -> None:
        assert {(leak.where, leak.name) for leak in leaks} == {
            ("leaky.CONSTANT", "Kind"),
            ("leaky.Record.item", "Item"),
            ("leaky.Shown", "Data"),
            ("leaky.Shown.annotated", "Annotated"),
            ("leaky.Shown.cached", "Cached"),
            ("leaky.Shown.field", "Field"),
            ("leaky.Shown.made", "Made"),
            ("leaky.Shown.read", "Read"),
            ("leaky.ShownError", "RootError"),
            ("leaky.public", "Alias"),
            ("leaky.public", "Argument"),
            ("leaky.public", "Nested"),
            ("leaky.public", "OnlyChecked"),
            ("leaky.public", "Result"),
            ("leaky.public", "Variant"),
        }
