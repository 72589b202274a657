"""The marks of the documentation's blocks, and its links; tests/examples runs the blocks.

A block that is not run has a mark above it: ``**Needs AWS**`` or ``**Needs PACKAGE**``, which readers see, or a comment
``tested by FILE::TEST``.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

from tests.support.project import doc_blocks
from tests.support.project.doc_blocks import (
    DATA,
    NEEDS_AWS,
    NEEDS_PACKAGE,
    PAGES,
    ROOT,
    TESTED_BY,
    Block,
    all_blocks,
    read_blocks,
    without_blocks,
)

BLOCKS = all_blocks()
NEEDS_NITRO_OR_AWS = re.compile(
    r"\bnitro-cli\b|\baws (?!kms encrypt)|\bsystemctl\b|\bdocker\b|\bkubectl\b|--cid\b|\bvsock-proxy 8000\b|vsock://3:"
    r"|\bkmstool-enclave --(?:proxy-port|region)\b|\bkmstool-eif (?:build|measure|diff)\b"
)
"""Commands that cannot run in the tests, or that need files from AWS. Only a block with one of them may be marked as
needing AWS."""


def test_every_block_is_data_or_run_or_says_why_not() -> None:
    unknown = [str(block) for block in BLOCKS if block.kind not in DATA and block.kind not in ("console", "python")]
    assert unknown == []
    marks = {block.mark for block in BLOCKS if block.mark}
    assert [mark for mark in marks - {NEEDS_AWS} - NEEDS_PACKAGE if not mark.startswith(TESTED_BY)] == []


def test_every_program_is_saved_as_a_file_that_its_page_runs() -> None:
    commands = {
        page: "".join(other.text for other in BLOCKS if (other.page, other.kind) == (page, "console"))
        for page in {block.page for block in BLOCKS}
    }
    programs = [block for block in BLOCKS if block.kind == "python" and not block.mark]
    assert [str(block) for block in programs if not block.title or block.title not in commands[block.page]] == []


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark == NEEDS_AWS], ids=str)
def test_block_marked_as_needing_aws_does_need_it(block: Block) -> None:
    assert NEEDS_NITRO_OR_AWS.search(block.text)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark and block.kind == "python"], ids=str)
def test_program_that_is_not_run_can_be_parsed(block: Block) -> None:
    ast.parse(block.text)


def test_continued_command_ends_in_a_backslash() -> None:
    """The site takes a line after any other for output, and does not copy it."""
    continued = re.compile(r"^\$ .*\|$", re.MULTILINE)
    assert [(block.page, block.line) for block in BLOCKS if continued.search(block.text)] == []


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark.startswith(TESTED_BY)], ids=str)
def test_test_that_a_block_names_exists(block: Block) -> None:
    path, _, name = block.mark.removeprefix(TESTED_BY).partition("::")
    assert re.search(rf"^ *def {re.escape(name)}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind in ("json", "yaml")], ids=str)
def test_data_can_be_read(block: Block) -> None:
    for document in block.text.split("\n\n") if block.kind == "json" else [block.text]:
        if block.kind == "json":
            json.loads(document)
        else:
            yaml.safe_load(document)


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page)):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), target
        assert not anchor or anchor in _anchors(found), target


class TestReaderOfBlocks:
    def test_page_without_blocks_has_none(self) -> None:
        assert read_blocks(ROOT / "docs/explanation/threat-model.md") == []

    def test_sees_mark_title_kind_and_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doc_blocks, "ROOT", tmp_path)
        source = tmp_path / "page.md"
        source.write_text(
            'x\n\n**Needs AWS**\n\n```console\n$ a\nb\n```\n\n```python title="c.py"\nc\n```\n\n'
            "<!-- tested by T -->\n```console\n$ d\n```\n\n**Needs flask**: `pip install flask`\n\n```python\ne\n```\n"
        )
        assert read_blocks(source) == [
            Block("page.md", 6, "console", "AWS", "$ a\nb\n"),
            Block("page.md", 11, "python", "", "c\n", "c.py"),
            Block("page.md", 16, "console", "tested by T", "$ d\n"),
            Block("page.md", 22, "python", "flask", "e\n"),
        ]
