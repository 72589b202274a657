"""Which environment variables a program reads, found in its sources and in its options."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from types import ModuleType

import click

from tests.support.project.packages import ROOT
from tools.reference.command_tree import TOOLS, contexts

_STARTS = {
    "kmstool-eif": ["instance_tool.eif."],
    "kmstool-enclave": ["enclave_tool.commands.kmstool_enclave"],
    "kmstool-enclave-cli": ["enclave_tool.commands.kmstool_enclave_cli"],
    "kmstool-instance": ["instance_tool.main", "instance_tool.commands."],
    "kmstool-sim": ["nitro_simulator.cli", "nitro_simulator.commands."],
    "vsock-proxy": ["vsock_proxy.cli"],
}
"""Modules with which each program starts. A name that ends in a dot stands for all modules of a package."""
_OWN_PACKAGE = {"kmstool-eif": "instance_tool.eif"}
"""Programs that share a package with another one. What they import from elsewhere in it reads no variable."""


def variables_read_by(tool: str) -> set[str]:
    """Return the variables that the modules of a tool's own package and of vsock_wire, and its options, read."""
    found = {name for module in _modules_of(tool) for name in variables_read_in(module)}
    for context in contexts(tool, TOOLS[tool]):
        options = (parameter for parameter in context.command.params if isinstance(parameter, click.Option))
        found |= {option.envvar for option in options if isinstance(option.envvar, str)}
    return found


def variables_read_in(module: ModuleType) -> Iterator[str]:
    tree = ast.parse(_source(module.__name__))
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.comprehension)]
    for node in ast.walk(tree):
        name = _name_read(node)
        if isinstance(name, ast.Constant):
            yield str(name.value)
        elif isinstance(name, ast.Name) and hasattr(module, name.id):
            yield getattr(module, name.id)
        elif name is not None:
            yield from (variable for loop in loops for variable in _items(loop, ast.unparse(name), module))


def _name_read(node: ast.AST) -> ast.expr | None:
    """Return the expression for the variable's name if ``node`` reads a variable."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop"):
        return node.args[0] if ast.unparse(node.func.value).endswith("environ") else None
    if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("environ"):
        return node.slice
    return None


def _items(loop: ast.comprehension, name: str, module: ModuleType) -> list[str]:
    """Return the values that a loop over a constant of the module gives a name."""
    targets = [ast.unparse(part) for part in getattr(loop.target, "elts", [loop.target])]
    constant = ast.unparse(loop.iter).partition(".")[0]
    if name not in targets or not hasattr(module, constant):
        return []
    values = getattr(module, constant)
    rows = values.items() if isinstance(values, dict) else [(value,) for value in values]
    return [row[targets.index(name)] for row in rows]


def _modules_of(tool: str) -> list[ModuleType]:
    waiting = [name for start in _STARTS[tool] for name in _expanded(start)]
    package = _OWN_PACKAGE.get(tool, waiting[0].partition(".")[0])
    found: dict[str, ModuleType] = {}
    while waiting:
        name = waiting.pop()
        if name not in found and f"{name}.".startswith((f"{package}.", "vsock_wire.")):
            found[name] = importlib.import_module(name)
            imports = (node for node in ast.walk(ast.parse(_source(name))) if isinstance(node, ast.ImportFrom))
            waiting += [node.module for node in imports if node.module]
    return list(found.values())


def _expanded(start: str) -> list[str]:
    if not start.endswith("."):
        return [start]
    folder = ROOT.joinpath(*start.rstrip(".").split("."))
    return [start + path.stem for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]


def _source(name: str) -> str:
    path = ROOT.joinpath(*name.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text("utf-8")
