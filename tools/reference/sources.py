"""The functions and classes of the project's sources, as the reader of error texts needs them."""

from __future__ import annotations

import ast
import importlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

ROOT = Path(__file__).parents[2]
PACKAGES = ("vsock_wire", "nitro_attestation", "enclave_tool", "instance_tool", "vsock_proxy", "nitro_simulator")

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Place:
    """The place of a call.

    Attributes:
        module: the module.
        function: the innermost function around it, or None at module level.
        call: the call itself.
    """

    module: ModuleType
    function: Function | None
    call: ast.Call

    @property
    def parameters(self) -> list[str]:
        """The names of the function's parameters."""
        return parameters_of(self.function) if self.function else []

    @cached_property
    def paired(self) -> set[str]:
        """The local names that one statement of the function assigns together, so that their values belong together."""
        targets = [
            target
            for node in (ast.walk(self.function) if self.function else ())
            if isinstance(node, ast.Assign)
            for target in node.targets
        ]
        return {part.id for target in targets if isinstance(target, ast.Tuple) for part in _names(target)}

    @cached_property
    def assigned(self) -> dict[str, list[ast.expr]]:
        """The expressions assigned to each local name; none for a name that a loop or ``with`` sets."""
        found: dict[str, list[ast.expr]] = defaultdict(list)
        for node in ast.walk(self.function) if self.function else ():
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    _assign(target, node.value, found)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.setdefault(node.id, [])
            elif isinstance(node, ast.ExceptHandler) and node.name:
                found.setdefault(node.name, [])
        return found


@dataclass
class Sources:
    """Every call, function and constructor of the packages.

    Attributes:
        calls: by the last part of the called name.
        functions: by module and name, including methods; the last one counts if several have the same name.
        constructors: by module and class, the call with which the class's ``__init__`` calls that of its base.
    """

    calls: dict[str, list[Place]] = field(default_factory=lambda: defaultdict(list))
    functions: dict[tuple[str, str], Function] = field(default_factory=dict)
    constructors: dict[tuple[str, str], Place] = field(default_factory=dict)

    @classmethod
    def read(cls, packages: tuple[str, ...] = PACKAGES) -> Sources:
        """Read every module of ``packages``."""
        found = cls()
        for path in sorted(path for package in packages for path in (ROOT / package).rglob("*.py")):
            parts = [part for part in path.relative_to(ROOT).with_suffix("").parts if part != "__init__"]
            found.add(importlib.import_module(".".join(parts)), path.read_text("utf-8"))
        return found

    def add(self, module: ModuleType, source: str) -> None:
        """Add one module."""
        for function, node in _nodes(ast.parse(source), None):
            if isinstance(node, ast.Call):
                self.calls[last_name(node.func)].append(Place(module, function, node))
            elif isinstance(node, Function):
                self.functions[module.__name__, node.name] = node
            elif isinstance(node, ast.ClassDef):
                for place in _base_calls(module, node):
                    self.constructors[module.__name__, node.name] = place

    def callers(self, place: Place) -> list[Place]:
        """Return the calls of the function around ``place``, in its module and in modules that import it."""
        if place.function is None:
            return []
        name = place.function.name
        home = getattr(place.module, name, None)
        return [
            call
            for call in self.calls[name]
            if call.module is place.module or (home is not None and getattr(call.module, name, None) is home)
        ]


def last_name(node: ast.expr) -> str:
    """Return the last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def parameters_of(function: Function) -> list[str]:
    """Return the names of a function's parameters without ``self`` and ``cls``."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]


def bound_arguments(call: ast.Call, function: Function) -> dict[str, ast.expr]:
    """Return the expression that ``call`` passes for each parameter, or else the default."""
    parameters = parameters_of(function)
    bound = dict(zip(parameters, call.args, strict=False))
    bound |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        if default is not None:
            bound.setdefault(argument.arg, default)
    positional = [*function.args.posonlyargs, *function.args.args]
    for argument, default in zip(reversed(positional), reversed(function.args.defaults), strict=False):
        bound.setdefault(argument.arg, default)
    return bound


def _base_calls(module: ModuleType, node: ast.ClassDef) -> Iterator[Place]:
    for function in node.body:
        if isinstance(function, ast.FunctionDef) and function.name == "__init__":
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__":
                    yield Place(module, function, call)


def _nodes(node: ast.AST, function: Function | None) -> Iterator[tuple[Function | None, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        yield function, child
        yield from _nodes(child, child if isinstance(child, Function) else function)


def _assign(target: ast.expr, value: ast.expr, found: dict[str, list[ast.expr]]) -> None:
    if isinstance(target, ast.Name):
        found[target.id].append(value)
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        for part, part_value in zip(target.elts, value.elts, strict=True):
            _assign(part, part_value, found)
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.IfExp):
        _assign(target, value.body, found)
        _assign(target, value.orelse, found)


def _names(node: ast.AST) -> Iterator[ast.Name]:
    yield from (part for part in ast.walk(node) if isinstance(part, ast.Name))
