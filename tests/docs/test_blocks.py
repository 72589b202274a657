"""Every command and program in the documentation is run as it stands, or says why not.

A ``console`` block is run line by line by bash, in ``kmstool-sim run``; what it shows beneath a command must be what
it prints, where ``...`` stands for what differs from run to run. A ``python`` block is run as a program there. A block
that cannot be is marked with a comment above it: ``needs AWS``, ``needs`` a package, or ``tested by FILE::TEST``.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from nitro_simulator.deployment import processes
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
TIMEOUT_S = 120.0
SAMPLE = "a secret for the documentation"
NEEDS_NITRO_OR_AWS = re.compile(
    r"\bnitro-cli\b|\baws (?!kms encrypt)|\bsystemctl\b|\bdocker\b|--cid\b|\bvsock-proxy 8000\b"
)
"""What cannot have been run where the tests run; only a block with these may be marked as needing AWS."""
END_OF_OUTPUT = "@@ end of output @@"


def runnable(kind: str) -> list[Block]:
    return [block for block in BLOCKS if block.kind == kind and not block.mark]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place with what the blocks speak of: examples/ as in the project."""
    tmp_path.joinpath("examples").symlink_to(ROOT / "examples")
    return tmp_path


def run_in_simulator(arguments: list[str], cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [processes.tool_path("kmstool-sim"), "run", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=processes.clean_environment({"PYTHONPATH": str(ROOT), "KEY": ""}),
        timeout=TIMEOUT_S,
        check=False,
    )


def steps_of(block: Block) -> list[tuple[str, str]]:
    """Return each command, with its continuation lines, and the output that is shown beneath it."""
    steps: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            steps.append((re.sub(r"\s{3,}# .*$", "", line[2:]), ""))
        elif steps and (line.startswith("> ") or (steps[-1][0].endswith(("\\", "|")) and not steps[-1][1])):
            steps[-1] = (f"{steps[-1][0]}\n{line.removeprefix('> ')}", "")
        elif steps:
            steps[-1] = (steps[-1][0], f"{steps[-1][1]}{line}\n")
    return steps


def as_regex(shown: str) -> str:
    return ".*?".join(re.escape(part) for part in shown.strip().split("..."))


@pytest.mark.parametrize("block", runnable("console"), ids=str)
def test_console_block_prints_what_it_shows(block: Block, folder: Path) -> None:
    steps = steps_of(block)
    assert steps, "no line begins with $"
    script = "".join(f"{command}\necho '{END_OF_OUTPUT}'\n" for command, _ in steps)
    done = run_in_simulator(["bash", "-eu", "-o", "pipefail", "-c", f"exec 2>&1\n{PREPARATION}{script}"], folder)
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout.split(f"{END_OF_OUTPUT}\n")
    for (command, shown), output in zip(steps, printed, strict=False):
        if shown:
            assert re.fullmatch(as_regex(shown), output.strip(), re.DOTALL), f"$ {command}\n{output}"


PREPARATION = f"""\
KEY=$KMSTOOL_SIM_KEY_ID
printf %s '{SAMPLE}' | kmstool-instance encrypt --key-id "$KEY" > secret.b64
CIPHERTEXT=$(cat secret.b64)
cat secret.b64 secret.b64 > ciphertexts
"""
"""What every block finds: a key, a ciphertext under it, and a file of two."""


@pytest.mark.parametrize("block", runnable("python"), ids=str)
def test_python_block_runs(block: Block, folder: Path) -> None:
    if re.search(r"^def test_", block.text, re.MULTILINE):
        folder.joinpath("test_block.py").write_text(block.text, "utf-8")
        arguments = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_block.py"]
    else:
        folder.joinpath("block.py").write_text(block.text, "utf-8")
        arguments = ["python", "block.py"]
    done = run_in_simulator(arguments, folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_block_is_data_or_run_or_says_why_not() -> None:
    unknown = [str(block) for block in BLOCKS if block.kind not in DATA and block.kind not in ("console", "python")]
    assert unknown == []
    marks = {block.mark for block in BLOCKS if block.mark}
    assert [mark for mark in marks - {NEEDS_AWS} - NEEDS_PACKAGE if not mark.startswith(TESTED_BY)] == []


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark == NEEDS_AWS], ids=str)
def test_block_marked_as_needing_aws_does_need_it(block: Block) -> None:
    assert NEEDS_NITRO_OR_AWS.search(block.text)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark and block.kind == "python"], ids=str)
def test_program_that_is_not_run_can_be_parsed(block: Block) -> None:
    ast.parse(block.text)


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
    def test_sees_mark_kind_and_line(self, tmp_path: Path) -> None:
        page = ROOT / "docs" / "threat-model.md"
        assert read_blocks(page) == []
        source = tmp_path / "page.md"
        source.write_text("x\n\n<!-- needs AWS -->\n```console\n$ a\nb\n```\n\n```python\nc\n```\n")
        text = source.read_text()
        assert re.findall(r"```(\w+)", text) == ["console", "python"]

    def test_tells_commands_from_output(self) -> None:
        block = Block("p", 1, "console", "", "$ a |\n    b\nshown\n$ c     # why\n")
        assert steps_of(block) == [("a |\n    b", "shown\n"), ("c", "")]

    def test_dots_stand_for_anything_and_nothing_else_does(self) -> None:
        assert re.fullmatch(as_regex("a ... c\n"), "a b c")
        assert not re.fullmatch(as_regex("a.c"), "abc")
