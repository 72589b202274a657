"""CONTRIBUTING.md names commands that work, and files and names that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

from tests.support.project.doc_blocks import ROOT, read_blocks

TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
NAMED_IN_FILE = re.compile(r"`([\w/]+\.py)`: (?:add (?:it|its name|its row|the name|a row) to |extend )`(\w+)`")


def test_targets_and_tests_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"(?:\$ |`|; )make ([\w-]+)", TEXT))
    assert {"install", "test-fast", "test", "lint", "man"} <= targets
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
    assert (ROOT / ".ci/run").exists()


def test_one_test_is_run_as_it_says() -> None:
    (block,) = read_blocks(ROOT / "CONTRIBUTING.md")
    lines = [shlex.split(line[2:], comments=True) for line in block.text.splitlines()]
    runs = [words[1:] for words in lines if words[0] == ".venv/bin/pytest"]
    assert len(runs) == 2
    for arguments in runs:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_names_in_files_are_there() -> None:
    found = NAMED_IN_FILE.findall(TEXT)
    assert len(found) > 5
    missing = [
        f"{path}: {name}" for path, name in found if not re.search(rf"\b{name}\b", (ROOT / path).read_text("utf-8"))
    ]
    assert missing == []
