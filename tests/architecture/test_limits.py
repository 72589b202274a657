"""docs/limits.md says what the enclave's limits are: each value is that of the code, and each test is there."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| `([\w.]+):([\w.]+)` \| ([\d,.]+) \|.*\| `(tests/[^`]+)` \|$",
    (ROOT / "docs/limits.md").read_text("utf-8"),
    re.M,
)


def test_table_is_read() -> None:
    assert len(ROWS) > 20


@pytest.mark.parametrize(("module", "name", "value", "test"), ROWS)
def test_row_is_true(module: str, name: str, value: str, test: str) -> None:
    number = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    assert float(value.replace(",", "")) == number
    path, *parts = test.split("::")
    scope: list[ast.stmt] = ast.parse((ROOT / path).read_text("utf-8")).body
    for part in parts:
        found = [node for node in scope if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part]
        assert found, f"no {part}"
        scope = found[0].body
