"""The fenced blocks of the documentation, with the mark above each: what it needs, or which test covers it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]

NEEDS_AWS = "AWS"
NEEDS_PACKAGE = frozenset({"flask", "aws-encryption-sdk"})
"""Packages that the project does not install. Programs that need one are only parsed."""
TESTED_BY = "tested by "
DATA = frozenset({"text", "json", "yaml", "mermaid", "ini", "toml", "dockerfile"})
"""Blocks that are not typed into a shell or an interpreter."""

_BLOCK = re.compile(
    r"(?:^(?:<!-- (?P<comment>[^\n]*?) -->|\*\*Needs (?P<needs>[\w-]+)\*\*[^\n]*)\n\n?)?"
    r"^```(?P<kind>\w*)(?: title=\"(?P<title>[^\"\n]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: relative to the root of the project.
        line: of its first line of text.
        kind: the language named by its opening fence.
        mark: what the paragraph ``**Needs ...**`` above it names, or the comment above it; empty without one.
        text: its contents.
        title: the file that the reader saves it as, or empty.
    """

    page: str
    line: int
    kind: str
    mark: str
    text: str
    title: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def read_blocks(page: Path) -> list[Block]:
    source = page.read_text("utf-8")
    return [
        Block(
            str(page.relative_to(ROOT)),
            source.count("\n", 0, match.start("text")) + 1,
            match["kind"],
            match["comment"] or match["needs"] or "",
            match["text"],
            match["title"] or "",
        )
        for match in _BLOCK.finditer(source)
    ]


def all_blocks() -> list[Block]:
    return [block for page in PAGES for block in read_blocks(page)]


def without_blocks(page: Path) -> str:
    """Return the prose of a page."""
    return _BLOCK.sub("", page.read_text("utf-8"))
