"""Every command and program in the documentation, run as a reader runs them.

The reader starts in an empty shell, in a clone of the project where ``make install`` has run. For each page, a reader
saves each block that has a title as the file of that name, and types all commands of the ``console`` blocks, from top
to bottom, into one shell. What a block shows below a command must be what the command prints; ``...`` stands for what
differs from run to run. A command succeeds unless the page shows its ``error:`` or ``NOT OK``. Blocks that need AWS or
a package are left out; tests/docs checks that these do need it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.project.doc_blocks import PAGES, ROOT, Block, read_blocks

TIMEOUT_S = 180.0
NOT_IN_A_CLONE = frozenset({".git", ".venv", "build", "site", "dist"})
END_OF_OUTPUT = "@@ end of output @@"


@dataclass(frozen=True)
class Step:
    """A command and the output shown below it."""

    command: str
    shown: str

    @property
    def fails(self) -> bool:
        return ": error: " in self.shown or "NOT OK" in self.shown


def steps_of(block: Block) -> list[Step]:
    """Return each command, with its continuation lines, and the output shown below it."""
    steps: list[Step] = []
    for line in block.text.splitlines():
        last = steps[-1] if steps else None
        if line.startswith("$ "):
            steps.append(Step(line[2:], ""))
        elif last and (line.startswith("> ") or (last.command.endswith(("\\", "|")) and not last.shown)):
            steps[-1] = Step(f"{last.command}\n{line.removeprefix('> ')}", "")
        elif last:
            steps[-1] = Step(last.command, f"{last.shown}{line}\n")
    return steps


def as_regex(shown: str) -> str:
    return ".*?".join(re.escape(part) for part in shown.strip().split("..."))


def type_into_shell(steps: Sequence[Step], cwd: Path) -> list[tuple[int, str]]:
    """Type the commands into an empty shell, and return the exit status and the output of each that ended."""
    typed = "".join(f'{step.command}\necho "{END_OF_OUTPUT} $?"\n' for step in steps)
    done = subprocess.run(
        ["/bin/bash", "--norc"],
        input=typed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env={"HOME": str(cwd), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
        timeout=TIMEOUT_S,
        check=False,
    )
    ended = re.findall(rf"(.*?){END_OF_OUTPUT} (\d+)\n", done.stdout, re.DOTALL)
    return [(int(status), output) for output, status in ended]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder like a clone of the project, with the virtual environment that runs this test as its .venv."""
    folder = tmp_path / "kmstool"
    folder.mkdir()
    for path in ROOT.iterdir():
        if path.name not in NOT_IN_A_CLONE:
            folder.joinpath(path.name).symlink_to(path)
    folder.joinpath(".venv").symlink_to(sys.prefix)
    return folder


def runnable(page: Path) -> list[Block]:
    return [block for block in read_blocks(page) if not block.mark and (block.kind == "console" or block.title)]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if runnable(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_page_does_what_it_shows(page: Path, clone: Path) -> None:
    blocks = runnable(page)
    for block in blocks:
        if block.title:
            clone.joinpath(block.title).write_text(block.text, "utf-8")
    steps = [step for block in blocks if block.kind == "console" for step in steps_of(block)]
    assert steps, "no line begins with $"
    ended = type_into_shell(steps, clone)
    for step, (status, output) in zip(steps, ended, strict=False):
        assert (status != 0) == step.fails, f"$ {step.command}\n{output}"
        if step.shown:
            assert re.fullmatch(as_regex(step.shown), output.strip(), re.DOTALL), f"$ {step.command}\n{output}"
    assert len(ended) == len(steps), f"$ {steps[len(ended)].command}\nended the shell, or read what was typed next"


class TestReaderOfSteps:
    def test_tells_commands_from_output(self) -> None:
        block = Block("p", 1, "console", "", "$ a |\n    b\nshown\n$ c     # why\n")
        assert steps_of(block) == [Step("a |\n    b", "shown\n"), Step("c     # why", "")]

    def test_dots_stand_for_anything_and_nothing_else_does(self) -> None:
        assert re.fullmatch(as_regex("a ... c\n"), "a b c")
        assert not re.fullmatch(as_regex("a.c"), "abc")


class TestShell:
    def test_knows_nothing_that_the_page_does_not_say(self, tmp_path: Path) -> None:
        steps = [Step("echo $KEY$CIPHERTEXT$KMSTOOL_ENCLAVE$AWS_REGION", ""), Step("command -v kmstool-sim", "")]
        assert type_into_shell(steps, tmp_path) == [(0, "\n"), (1, "")]

    def test_keeps_what_a_command_sets_for_the_next_one(self, tmp_path: Path) -> None:
        assert type_into_shell([Step("bash", ""), Step("a=b", ""), Step("echo $a", "")], tmp_path)[-1] == (0, "b\n")

    def test_sees_a_failure(self, tmp_path: Path) -> None:
        assert type_into_shell([Step("false", ""), Step("echo c", "")], tmp_path) == [(1, ""), (0, "c\n")]
