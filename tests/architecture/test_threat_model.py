"""docs/explanation/threat-model.md names an existing test for each defense."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/explanation/threat-model.md").read_text("utf-8")
NAMED_TESTS = sorted(set(re.findall(r"`(tests/[^`]+::[^`]+)`", TEXT)))


def test_every_defense_names_a_test() -> None:
    section = TEXT.partition("\n## Attacks and defenses\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|") and not line.startswith(("|--", "| attack "))]
    assert len(rows) >= len(NAMED_TESTS) / 3
    assert [row for row in rows if "`tests/" not in row] == []


@pytest.mark.parametrize("name", NAMED_TESTS)
def test_named_test_exists(name: str) -> None:
    path, *parts = name.split("::")
    scope: list[ast.stmt] = ast.parse((ROOT / path).read_text("utf-8")).body
    for part in parts:
        found = [node for node in scope if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part]
        assert found, f"no {part}"
        scope = found[0].body
