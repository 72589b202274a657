"""Decision records are numbered without a gap, and each says its status and its date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.project.doc_blocks import ROOT

RECORDS = sorted((ROOT / "docs/explanation/decisions").glob("*.md"))
HEAD = re.compile(r"# (\d+)\. .+\n\n- Status: (Accepted|Superseded)\b.*\n- Date: \d{4}-\d\d-\d\d\n\n## Context\n")


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.name)
def test_record_has_status_and_date_and_its_three_parts(path: Path) -> None:
    text = path.read_text("utf-8")
    assert HEAD.match(text)
    assert re.findall("^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_records_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name[:4]) for path in RECORDS]
    assert numbers == list(range(1, len(RECORDS) + 1))
    assert [int(re.sub(r"\D.*", "", path.read_text("utf-8")[2:], flags=re.DOTALL)) for path in RECORDS] == numbers


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.name)
def test_record_that_another_one_names_exists(path: Path) -> None:
    named = re.findall(r"\brecord (\d+)", path.read_text("utf-8"))
    assert {int(number) for number in named} <= set(range(1, len(RECORDS) + 1))
