"""The texts and hints of errors that are literals at the place where the error is created."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from nitro_attestation.errors import NitroAttestationError
from tests.support.project.packages import classes
from vsock_wire.errors import ToolError

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""Stands for a value that is formatted into a text."""

ERRORS = {member.__name__ for member in classes() if issubclass(member, ToolError | NitroAttestationError)}


def texts(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, kind and text of every text and hint of the project's errors that is a literal."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] not in ERRORS:
            continue
        for kind, value in [("text", arg) for arg in node.args[-1:]] + [
            ("hint", keyword.value) for keyword in node.keywords if keyword.arg == "hint"
        ]:
            literal = literal_of(value)
            if literal:
                yield node.lineno, kind, literal


def literal_of(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else UNKNOWN for part in node.values)
    return None
