"""Choose names for the variable parts of a text, such as ``{address}`` for ``quoted(str(self._address))``."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping

_TRANSPARENT = frozenset(("abs", "int", "printable", "quoted", "repr", "round", "sorted", "str"))
"""Functions whose argument provides the name."""


SYSTEM_REASON = "{reason of the system}"


def placeholder(node: ast.expr) -> str:
    """Return ``{name}`` for an expression, with a name that a reader understands."""
    return SYSTEM_REASON if "strerror" in ast.unparse(node) else f"{{{_name(node)}}}"


def _name(node: ast.expr) -> str:
    name = _NAMES.get(type(node))
    return "value" if name is None else name(node)


def _of_name(node: ast.Name) -> str:
    return node.id.strip("_").lower()


def _of_attribute(node: ast.Attribute) -> str:
    match node:
        case ast.Attribute(value=ast.Call(func=ast.Name(id="type"), args=[argument]), attr="__name__"):
            return f"type of {_name(argument)}"
    return node.attr.strip("_").lower()


def _of_call(node: ast.Call) -> str:
    match node:
        case ast.Call(func=ast.Name(id="len"), args=[argument]):
            return f"length of {_name(argument)}"
        case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str(key)), *_]):
            return key
        case ast.Call(func=ast.Name(id=name), args=[argument, *_]) if name in _TRANSPARENT:
            return _name(argument)
        case ast.Call(func=ast.Name(id="map" | "cast"), args=[_, argument]):
            return _name(argument)
    return _of_method_call(node)


def _of_method_call(node: ast.Call) -> str:
    match node:
        case ast.Call(func=ast.Attribute(attr="join"), args=[argument, *_]):
            return _name(argument)
        case ast.Call(func=ast.Attribute(value=value)) if not ast.unparse(value).startswith("self"):
            return _name(value)
    return _name(node.func)


_NAMES: Mapping[type[ast.expr], Callable[..., str]] = {
    ast.Name: _of_name,
    ast.Attribute: _of_attribute,
    ast.Call: _of_call,
    ast.Subscript: lambda node: _name(node.value),
    ast.GeneratorExp: lambda node: _name(node.elt),
    ast.BoolOp: lambda node: _name(node.values[0]),
    ast.BinOp: lambda node: _name(node.left),
    ast.IfExp: lambda node: _name(node.body),
}
