"""The checks of spelling and Markdown: the whole tree passes, and planted faults are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.project.packages import ROOT
from tools.proofread import markdown_faults, misspellings
from tools.wording import texts


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in the project's folder, where the programs find their configuration and git finds the files."""
    monkeypatch.chdir(ROOT)


def test_every_text_is_spelled_correctly() -> None:
    assert misspellings([path for path, _ in texts()]) == []


def test_every_page_keeps_the_rules_for_markdown() -> None:
    assert markdown_faults([path for path, _ in texts() if path.endswith(".md")]) == []


@pytest.mark.parametrize("word", ["recieve", "seperate", "behaviour", "occured"])
def test_misspelling_is_found(word: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\nA {word} in a line.\n")
    (line,) = misspellings([str(page)])
    assert word in line


def test_word_of_the_dictionary_is_accepted(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nThe task was cancelled.\n")
    assert misspellings([str(page)]) == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("# Title\n\n" + "word " * 25 + "\n", "MD013"),
        ("# Title\n\n### Too deep\n", "MD001"),
        ("# Title\n\n# Another title\n", "MD025"),
        ("# Title\nNo blank line.\n", "MD022"),
        ("# Title\n\n## Section.\n", "MD026"),
    ],
)
def test_fault_in_markdown_is_found(text: str, rule: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    assert any(rule in line for line in markdown_faults([str(page)]))
