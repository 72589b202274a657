"""Every command and program in the documentation, run as it stands.

A ``console`` block is run line by line by bash, in ``kmstool-sim run``; what it shows beneath a command must be what
it prints, where ``...`` stands for what differs from run to run. A ``python`` block is run as a program there.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from nitro_simulator.deployment import processes
from tests.support.project.doc_blocks import ROOT, Block, all_blocks

BLOCKS = all_blocks()
TIMEOUT_S = 120.0
SAMPLE = "a secret for the documentation"
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


class TestReaderOfSteps:
    def test_tells_commands_from_output(self) -> None:
        block = Block("p", 1, "console", "", "$ a |\n    b\nshown\n$ c     # why\n")
        assert steps_of(block) == [("a |\n    b", "shown\n"), ("c", "")]

    def test_dots_stand_for_anything_and_nothing_else_does(self) -> None:
        assert re.fullmatch(as_regex("a ... c\n"), "a b c")
        assert not re.fullmatch(as_regex("a.c"), "abc")
