"""What the README says about the project's own files."""

from __future__ import annotations

import re
import tomllib

from tests.support.project.doc_blocks import ROOT

README = (ROOT / "README.md").read_text("utf-8")
MAX_LINES = 150
MAX_DEMO_LINES = 20


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= MAX_LINES
    demo = README.partition("$ kmstool-sim demo\n")[2].partition("\n```\n")[0]
    assert 0 < len(demo.splitlines()) <= MAX_DEMO_LINES


def test_parts_of_the_readme() -> None:
    headings = re.findall(r"^(##+) (.*)$", README, re.MULTILINE)
    assert [title for level, title in headings if level == "##"] == [
        "Two commands",
        "How the plaintext gets back",
        "Install",
        "Five uses",
        "Where to read on",
    ]
    assert sum(level == "###" for level, _ in headings) == 5
    assert "Not yet run on real AWS by its authors" in README


def test_two_commands_of_the_readme_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    section = README.partition("\n## Two commands\n")[2].partition("\n```\n")[0]
    targets = re.findall(r"^\$ make (\w+)", section, re.MULTILINE)
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_extras_of_the_readme_are_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    section = README.partition("\n## Install\n")[2].partition("\n## ")[0]
    extras = [name for group in re.findall(r"pip install '\.\[([\w,]+)\]'", section) for name in group.split(",")]
    assert extras
    assert set(extras) <= set(project["optional-dependencies"])
    commands = re.findall(r"#.*: (kmstool-[\w-]+)(?:, ([\w-]+))?", section)
    assert {name for found in commands for name in found if name} - {"everything"} <= set(project["scripts"])
