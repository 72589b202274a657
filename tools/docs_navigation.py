"""The documentation's site: navigation, badges, and tables for narrow screens; mkdocs calls the functions by name."""

from __future__ import annotations

import re
from html import escape, unescape
from pathlib import Path
from typing import Any

SECTIONS = {
    "Tutorials": ("tutorials", ("first-decrypt.md", "your-own-program.md")),
    "How-to guides": (
        "how-to",
        (
            "use-the-command.md",
            "migrate-from-c.md",
            "key-policy.md",
            "check-key-policy.md",
            "keep-plaintext-inside.md",
            "verify-attestation.md",
            "verify-from-python.md",
            "several-regions.md",
            "build-images.md",
            "image-files.md",
            "kubernetes.md",
            "scale-out.md",
            "operate.md",
            "troubleshoot.md",
        ),
    ),
    "Reference": (
        "reference",
        (
            "commands.md",
            "ciphertext-input.md",
            "errors.md",
            "kms-refusals.md",
            "protocol.md",
            "proxy.md",
            "limits.md",
            "simulator.md",
            "python-api.md",
        ),
    ),
    "Explanation": (
        "explanation",
        (
            "plaintext-path.md",
            "design.md",
            "threat-model.md",
            "comparison.md",
            "performance.md",
            "proxy-relay.md",
            "reliability.md",
        ),
    ),
}
"""Title, folder, and its pages in the order in which a newcomer needs them; unnamed ones follow by file name."""
DECISIONS = "explanation/decisions"
STACKED_COLUMNS = 4
STACKED_CHARS = 150
"""A table with this many columns, or with a row of this many characters, does not fit a narrow screen."""
ABOUT_ERRORS = frozenset({"how-to/troubleshoot.md", "reference/errors.md", "reference/kms-refusals.md"})
BOOST = 2
"""Pages that the search ranks higher, by this factor: a reader who pastes an error text wants one of them."""
_COMMENT_AT_TOP = re.compile(r"\A(?:<!--.*?-->\s*)+", re.DOTALL)
_NEEDS = re.compile(r"^\*\*Needs [\w-]+\*\*", re.MULTILINE)
_TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
_CELL = re.compile(r"<td([^>]*)>")
_TAG = re.compile(r"<[^>]+>")
_LONG_NAME = re.compile(r"(?<=<code>)[\w./:-]{20,}(?=</code>)")
_END_OF_PART = re.compile(r"(?:[/_.]|::?)(?=\w)")
_INLINE_CODE = re.compile(r"(?<!<pre>)<code>[^<\n]*</code>")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]{0,24}\b")
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")


def on_config(config: Any) -> Any:
    """Put the pages that exist into the navigation."""
    root = Path(config["docs_dir"])
    navigation: list[Any] = [{"Overview": "index.md"}]
    for title, (folder, order) in SECTIONS.items():
        present = sorted(path.name for path in root.joinpath(folder).glob("*.md"))
        names = [name for name in order if name in present] + [name for name in present if name not in order]
        navigation.append({title: [f"{folder}/{name}" for name in names]})
    records = sorted(f"{DECISIONS}/{path.name}" for path in root.joinpath(DECISIONS).glob("*.md"))
    navigation[-1]["Explanation"].append({"Decisions": records})
    config["nav"] = navigation
    return config


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: object) -> str:
    """Turn links to files outside the site into the files' names, and ``**Needs ...**`` into a badge.

    Pages about errors also get their boost in the search.
    """
    if page.file.src_uri in ABOUT_ERRORS:
        page.meta["search"] = {"boost": BOOST}
    root = Path(config["docs_dir"]).resolve()
    folder = root.joinpath(page.file.src_uri).parent

    def name_if_outside(match: re.Match[str]) -> str:
        target = (folder / match[2].partition("#")[0]).resolve()
        if not match[2].startswith("../") or target.is_relative_to(root):
            return match[0]
        return f"{match[1]} (`{target.relative_to(root.parent)}`)"

    titled = _COMMENT_AT_TOP.sub("", markdown)  # mkdocs takes a title only from the first line
    return _NEEDS.sub(r"\g<0>{ .needs }", _LINK.sub(name_if_outside, titled))


def on_page_content(html: str, **_: object) -> str:
    """Make tables fit a narrow screen, and keep options in one piece.

    In tables, long names can break after their parts, and cells have labels, so that rows can stack.
    """

    def breakable(match: re.Match[str]) -> str:
        return _END_OF_PART.sub(r"\g<0><wbr>", match[0])

    def whole(match: re.Match[str]) -> str:
        return _OPTION.sub(r'<span class="option">\g<0></span>', match[0])

    labeled = _TABLE.sub(lambda match: _labeled(_LONG_NAME.sub(breakable, match[0])), html)
    return _INLINE_CODE.sub(whole, labeled)


def _labeled(table: str) -> str:
    titles = [_TAG.sub("", cell) for cell in re.findall(r"<th[^>]*>(.*?)</th>", table, re.DOTALL)]
    rows = re.findall(r"<tr>.*?</tr>", table, re.DOTALL)
    if len(titles) < STACKED_COLUMNS and max(len(_TAG.sub("", row)) for row in rows) < STACKED_CHARS:
        return table

    def labeled_row(match: re.Match[str]) -> str:
        labels = iter(titles)
        return _CELL.sub(lambda cell: f'<td data-label="{escape(unescape(next(labels, "")))}"{cell[1]}>', match[0])

    return re.sub(r"<tr>.*?</tr>", labeled_row, table, flags=re.DOTALL).replace("<table>", "<table data-stacked>", 1)
