"""The fenced blocks of the documentation, and what the comment above each says of how it is tested."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]

NEEDS_AWS = "needs AWS"
NEEDS_PACKAGE = frozenset({"needs flask", "needs aws-encryption-sdk"})
"""Programs with libraries that are no business of this project; only their form is checked."""
TESTED_BY = "tested by "
DATA = frozenset({"text", "json", "yaml", "mermaid", "ini", "toml", "dockerfile"})
"""What nobody types into a shell or an interpreter."""

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n\n?)?^```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: relative to the root of the project.
        line: of its first line of text.
        kind: behind the opening fence.
        mark: what the comment above it says, or empty.
        text: what it holds.
    """

    page: str
    line: int
    kind: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def read_blocks(page: Path) -> list[Block]:
    source = page.read_text("utf-8")
    return [
        Block(
            str(page.relative_to(ROOT)),
            source.count("\n", 0, match.start("text")) + 1,
            match["kind"].strip(),
            match["mark"] or "",
            match["text"],
        )
        for match in _BLOCK.finditer(source)
    ]


def all_blocks() -> list[Block]:
    return [block for page in PAGES for block in read_blocks(page)]


def without_blocks(page: Path) -> str:
    """Return the prose of a page."""
    return _BLOCK.sub("", page.read_text("utf-8"))
