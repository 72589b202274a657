"""Render an expression of the sources as its possible texts, with ``{name}`` for each variable part.

The renderer inserts constants of the project. A local name stands for the values that its function assigns to it, and a
parameter for the value that the current caller passes. If there are too many texts, ``{name}`` stands for all of them.
"""

from __future__ import annotations

import ast
import enum
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tools.reference.placeholders import SYSTEM_REASON, placeholder
from tools.reference.sources import Place, Sources, bound_arguments, last_name

MAX_TEXTS = 16
"""Maximum number of texts of one expression."""
_MAX_DEPTH = 8
"""Maximum number of functions and names in a chain."""
_CONSTANT = re.compile(r"[\w.]+(?: [-+*] \d+| \| \w+)?|(?:', '|' or ')\.join\([\w.]+\)")
"""Expressions for which a placeholder is enough: names, and sums, unions and lists of names."""


@dataclass
class Renderer:
    """Renders expressions at ``place``.

    Attributes:
        sources: all modules.
        place: the call that the expressions belong to.
        bound: the texts of parameters of the function around ``place``.
        free: names of the parameters without texts that occurred.
    """

    sources: Sources
    place: Place
    bound: Mapping[str, list[str]] = field(default_factory=dict)
    free: set[str] = field(default_factory=set)

    def texts(self, node: ast.expr, depth: int = 0) -> list[str]:
        """Return the possible texts of ``node``; empty if it is None."""
        if depth >= _MAX_DEPTH:
            return [placeholder(node)]
        found = self._combined(node, depth + 1)
        if found is None:
            found = self._named(node, depth + 1)
        if found is None:
            found = self._constants(node)
        if found is None:
            found = self._called(node, depth + 1) if isinstance(node, ast.Call) else [placeholder(node)]
        return list(dict.fromkeys(found)) if len(found) <= MAX_TEXTS else [placeholder(node)]

    def _combined(self, node: ast.expr, depth: int) -> list[str] | None:
        """Return the texts of an expression that combines others."""
        match node:
            case ast.Constant(value=value):
                return [] if value is None else [str(value)]
            case ast.JoinedStr(values=values):
                return self._product(values, depth)
            case ast.FormattedValue(value=value):
                return self.texts(value, depth) or ["None"]
            case ast.BinOp(left=left, right=right, op=ast.Add()) if not _is_number(right):
                return self._product([left, right], depth)
            case ast.BoolOp(op=ast.Or(), values=[*_, ast.Constant() | ast.JoinedStr()]):
                return [text for value in node.values for text in self.texts(value, depth)]
        return self._chosen(node, depth) if isinstance(node, ast.IfExp) else None

    def _chosen(self, node: ast.IfExp, depth: int) -> list[str]:
        if isinstance(node.test, ast.Name) and node.test.id in self.bound:
            return self.texts(node.body if self.bound[node.test.id] else node.orelse, depth)
        return [*self.texts(node.body, depth), *self.texts(node.orelse, depth)]

    def _product(self, nodes: list[ast.expr], depth: int) -> list[str]:
        texts = [self.texts(node, depth) for node in nodes]
        varying = [node for node, found in zip(nodes, texts, strict=True) if len(found) > 1]
        counts = {len(found) for found in texts} - {1}
        if len(varying) > 1 and len(counts) == 1 and all(self._is_paired(node) for node in varying):
            rows = max(counts)
            return ["".join(parts) for parts in zip(*(found * (rows // len(found)) for found in texts), strict=True)]
        return ["".join(parts) for parts in itertools.product(*texts)]

    def _is_paired(self, node: ast.expr) -> bool:
        return (
            isinstance(node, ast.FormattedValue)
            and isinstance(node.value, ast.Name)
            and node.value.id in self.place.paired
        )

    def _named(self, node: ast.expr, depth: int) -> list[str] | None:
        """Return the texts of a parameter or a local name, or of the map on which ``get`` is called."""
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name) as mapping, attr="get")):
                return self.bound.get(name) or self._constants(mapping) or [placeholder(node)]
            case ast.Name(id=name) if name in self.bound:
                return self.bound[name]
            case ast.Name(id=name) if name in self.place.parameters:
                self.free.add(name)
                return [placeholder(node)]
            case ast.Name(id=name) if self.place.assigned.get(name):
                return [text for value in self.place.assigned[name] for text in self._assigned(node, value, depth)]
        return None

    def _assigned(self, name: ast.expr, value: ast.expr, depth: int) -> list[str]:
        """Return the texts of the values that are assigned to a local name, or a placeholder if they are unknown."""
        found = self.texts(value, depth)
        unknown = placeholder(value)
        return [placeholder(name)] if found == [unknown] and unknown != SYSTEM_REASON else found

    def _called(self, node: ast.Call, depth: int) -> list[str]:
        """Return the texts of a call to a function of the same module that only returns, or to one that quotes."""
        name = last_name(node.func)
        if name in ("quoted", "printable", "str") and node.args:
            mark = '"' if name == "quoted" else ""
            return [f"{mark}{text}{mark}" for text in self.texts(node.args[0], depth)]
        function = self.sources.functions.get((self.place.module.__name__, name))
        body = [] if function is None else [line for line in function.body if not _is_docstring(line)]
        if function is None or len(body) != 1 or not isinstance(body[0], ast.Return) or body[0].value is None:
            return [placeholder(node)]
        arguments = {key: self.texts(value, depth) for key, value in bound_arguments(node, function).items()}
        return Renderer(self.sources, Place(self.place.module, function, node), arguments).texts(body[0].value, depth)

    def _constants(self, node: ast.expr) -> list[str] | None:
        """Return the texts of a constant of the module (for a map, its values), or None if ``node`` is not one."""
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        text = ast.unparse(node)
        if not names or not _CONSTANT.fullmatch(text) or names & {*self.place.parameters, *self.place.assigned}:
            return None
        try:
            value = eval(text, {}, vars(self.place.module))  # noqa: S307 - names of our own modules only
        except (AttributeError, NameError, TypeError):
            return None
        return _texts_of_value(value)


def _texts_of_value(value: object) -> list[str] | None:
    match value:
        case None:
            return []
        case enum.Enum():
            return [str(value.value)]
        case Mapping() if all(isinstance(text, str) for text in value.values()):
            return list(value.values())
        case tuple() | frozenset():
            return [", ".join(map(str, value))]
    return [str(value)] if isinstance(value, str | int | float) else None


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int)


def _is_docstring(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
