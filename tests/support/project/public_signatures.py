"""Which types the public names of a package mention: what a caller must be able to import from that package too.

The reader goes by the text of annotations, so that it sees type aliases and names imported for type checkers only. It
looks at functions and their overloads, at methods, properties and fields of classes (inherited ones too), at annotated
attributes and those that ``__init__`` makes from our classes, and at base classes.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import textwrap
import typing
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

DUNDERS = frozenset({"__init__", "__call__", "__enter__", "__iter__", "__next__", "__getitem__", "__aenter__"})
"""Those whose types a caller meets without naming the method."""


@dataclass(frozen=True)
class Mention:
    """One of our types in a public signature.

    Attributes:
        where: the public name, and the member that mentions the type.
        module: full name of the module that defines the type.
        name: the type's name there.
    """

    where: str
    module: str
    name: str


class SignatureReader:
    """Reads the signatures of public names.

    Args:
        ours: top-level packages whose types are of interest.
    """

    def __init__(self, ours: Collection[str]) -> None:
        self._ours = frozenset(ours)

    def mentions(self, package: str) -> Iterator[Mention]:
        """Yield each of our types that a public name of ``package`` mentions, as often as it is mentioned."""
        module = importlib.import_module(package)
        for name in module.__all__:
            yield from self._of(f"{package}.{name}", getattr(module, name))

    def leaks(self, package: str, public_packages: Collection[str]) -> set[Mention]:
        """Return the mentions of types that callers cannot import.

        A type is to be had from ``package`` itself, or from the public package that defines it.
        """
        exported = {package: importlib.import_module(package)} | {
            public: importlib.import_module(public) for public in public_packages
        }
        return {
            mention
            for mention in self.mentions(package)
            if not any(
                _exports(module, mention)
                for public, module in exported.items()
                if public == package or mention.module.startswith(f"{public}.")
            )
        }

    def _of(self, where: str, value: object) -> Iterator[Mention]:
        value = _undecorated(value)
        if inspect.isclass(value):
            seen: set[str] = set()
            for base in inspect.getmro(value):
                if base.__module__.partition(".")[0] in self._ours:
                    if base is not value:
                        yield Mention(where, base.__module__, base.__name__)
                    yield from self._of_members(where, base, seen)
                    seen.update(vars(base))
        elif inspect.isroutine(value):
            yield from self._of_function(where, value)
        elif (kind := type(value)).__module__.partition(".")[0] in self._ours:
            yield Mention(where, kind.__module__, kind.__name__)

    def _of_members(self, where: str, owner: type, overridden: Collection[str]) -> Iterator[Mention]:
        for name, annotation in inspect.get_annotations(owner).items():
            if not name.startswith("_"):
                yield from self._in_annotation(f"{where}.{name}", owner.__module__, annotation)
        for name, member in vars(owner).items():
            if (name.startswith("_") and name not in DUNDERS) or name in overridden:
                continue
            for function in _functions_of(member):
                yield from self._of_function(f"{where}.{name}", function)
                if name == "__init__":
                    yield from self._of_attributes(where, function)

    def _of_function(self, where: str, function: typing.Any) -> Iterator[Mention]:
        for variant in (function, *typing.get_overloads(function)):
            for annotation in inspect.get_annotations(variant).values():
                yield from self._in_annotation(where, variant.__module__, annotation)

    def _of_attributes(self, where: str, init: typing.Any) -> Iterator[Mention]:
        """Yield what ``__init__`` says about public attributes: by an annotation, or by calling one of our classes."""
        try:
            source = textwrap.dedent(inspect.getsource(init))
        except OSError:  # made by the dataclass decorator: the fields say it all
            return
        for node in ast.walk(ast.parse(source)):
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            if not (isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self"):
                continue
            attribute = f"{where}.{target.attr}"
            if target.attr.startswith("_"):
                continue
            if isinstance(node, ast.AnnAssign):
                yield from self._in_annotation(attribute, init.__module__, ast.unparse(node.annotation))
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                for mention in self._in_annotation(attribute, init.__module__, ast.unparse(node.value.func)):
                    if inspect.isclass(_value_of(mention)):
                        yield mention

    def _in_annotation(self, where: str, module: str, annotation: object) -> Iterator[Mention]:
        text = getattr(annotation, "__forward_arg__", annotation)
        if not isinstance(text, str):
            text = _text_of_type(annotation)
        names = _names_of(module)
        for used in _names_used_in(text):
            if used in names:
                home, name = names[used]
                mention = Mention(where, home, name)
                is_variable = isinstance(_value_of(mention), typing.TypeVar | typing.ParamSpec)
                if home.partition(".")[0] in self._ours and not is_variable:
                    yield mention


def _exports(module: ModuleType, mention: Mention) -> bool:
    return mention.name in module.__all__ and getattr(module, mention.name) is _value_of(mention)


def _value_of(mention: Mention) -> object:
    return getattr(importlib.import_module(mention.module), mention.name, None)


def _undecorated(value: object) -> object:
    """Return the function that a pytest fixture or a decorator wraps."""
    return getattr(value, "_fixture_function", None) or getattr(value, "__wrapped__", value)


def _functions_of(member: object) -> list[object]:
    if isinstance(member, property):
        return [function for function in (member.fget, member.fset) if function is not None]
    if isinstance(member, functools.cached_property):
        return [member.func]
    if isinstance(member, staticmethod | classmethod):
        return [inspect.unwrap(member.__func__)]
    return [inspect.unwrap(member)] if inspect.isfunction(member) else []


def _names_used_in(text: str) -> Iterator[str]:
    """Yield the names in an annotation, and those in the strings in it, which may be annotations themselves."""
    for node in ast.walk(ast.parse(text, mode="eval")):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_expression(node.value):
            yield from _names_used_in(node.value)


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return False
    return True


def _text_of_type(annotation: object) -> str:
    """Return an annotation that is a type already as text: its names are looked up in the module all the same."""
    return annotation.__name__ if inspect.isclass(annotation) else repr(annotation).replace("typing.", "")


@functools.cache
def _names_of(module: str) -> dict[str, tuple[str, str]]:
    """Return what the names in a module's annotations stand for: the module that defines each, and its name there."""
    path = inspect.getsourcefile(importlib.import_module(module))
    if path is None:
        return {}
    names: dict[str, tuple[str, str]] = {}
    for node in ast.walk(ast.parse(Path(path).read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
    for statement in ast.parse(Path(path).read_text("utf-8")).body:
        match statement:
            case ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                names[name] = (module, name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                names[name] = (module, name)
    return names
