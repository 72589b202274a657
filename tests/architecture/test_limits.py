"""The limits in docs/reference/limits.md: each value is the one in the code, and each named test exists."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/reference/limits.md").read_text("utf-8")
VALUES = re.findall(r"^\| ([\d,.]+) .* `([\w.]+:[\w.]+)` \|$", TEXT, re.MULTILINE)
TESTS = dict(re.findall(r"^\| `([\w.]+:[\w.]+)` \| `(tests/[^`]+)` \|$", TEXT, re.MULTILINE))


def test_table_is_read() -> None:
    assert len(VALUES) > 25
    assert [name for _, name in VALUES] == list(TESTS)


@pytest.mark.parametrize(("value", "limit"), VALUES, ids=lambda text: text)
def test_row_is_true(value: str, limit: str) -> None:
    module, _, name = limit.partition(":")
    number: Any = importlib.import_module(module)
    for part in name.split("."):
        number = getattr(number, part)
    assert float(value.replace(",", "")) == number
    path, *parts = TESTS[limit].split("::")
    scope: list[ast.stmt] = ast.parse((ROOT / path).read_text("utf-8")).body
    for part in parts:
        found = [node for node in scope if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part]
        assert found, f"no {part}"
        scope = found[0].body
