"""Every Python sample of the documentation, and of the public packages' docstrings, passes mypy --strict."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project.doc_blocks import NEEDS_PACKAGE, ROOT, Block, all_blocks
from tools.public_api import PUBLIC_PACKAGES

SAMPLE_LINE = re.compile(r"sample_(\d+)\.py:(\d+): error: (.*?)(?:  \[([\w-]+)\])?$", re.MULTILINE)
SAID_BY_A_MISSING_PACKAGE = frozenset({"import-not-found", "untyped-decorator"})
"""Errors that occur only because a package that a sample needs is not installed here."""


def docstring_blocks(package: str) -> Iterator[Block]:
    """Yield the literal blocks of a package's docstring: indented, after a line that ends in two colons."""
    path = ROOT.joinpath(*package.split("."), "__init__.py")
    source = path.read_text("utf-8")
    documentation = ast.parse(source).body[0]
    lines = source.splitlines()[: documentation.end_lineno]
    for number, line in enumerate(lines):
        if line.endswith("::"):
            rest = lines[number + 1 :]
            end = next((i for i, other in enumerate(rest) if other and not other.startswith(" ")), len(rest))
            text = textwrap.dedent("\n".join(rest[:end]))
            yield Block(str(path.relative_to(ROOT)), number + 2, "python", "", f"{text}\n")


SAMPLES = [
    *(block for block in all_blocks() if block.kind == "python"),
    *(block for package in PUBLIC_PACKAGES for block in docstring_blocks(package)),
]


def check(samples: list[Block], folder: Path) -> dict[Block, list[str]]:
    """Return mypy's errors for each of ``samples``, with page and line."""
    paths = [folder / f"sample_{number}.py" for number in range(len(samples))]
    for sample, path in zip(samples, paths, strict=True):
        path.write_text(sample.text, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--show-error-codes", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode in (0, 1), done.stderr
    errors: dict[Block, list[str]] = {sample: [] for sample in samples}
    for number, line, text, code in SAMPLE_LINE.findall(done.stdout):
        sample = samples[int(number)]
        if sample.mark not in NEEDS_PACKAGE or code not in SAID_BY_A_MISSING_PACKAGE:
            errors[sample].append(f"{sample.page}:{sample.line + int(line) - 1}: {text}")
    assert done.returncode == 0 or "sample_" in done.stdout, done.stdout
    return errors


def test_samples_pass_mypy_strict(tmp_path: Path) -> None:
    """All in one test, because mypy spends most of its time on their imports."""
    assert len(SAMPLES) > 10
    assert [error for errors in check(SAMPLES, tmp_path).values() for error in errors] == []


def test_checker_names_page_and_line_of_what_is_wrong(tmp_path: Path) -> None:
    untyped = Block("page.md", 10, "python", "", "import os\n\n\ndef f(x):\n    return x\n")
    wrong = Block("page.md", 30, "python", "", "from enclave_tool import open_nsm\nopen_nsm(1)\nopen_sesame()\n")
    missing = Block("page.md", 50, "python", "flask", "import no_such_package\nx: int = ''\n")
    found = check([untyped, wrong, missing], tmp_path)
    assert [error.partition(" ")[0] for error in found[untyped]] == ["page.md:13:"]
    assert [error.partition(" ")[0] for error in found[wrong]] == ["page.md:31:", "page.md:32:"]
    assert [error.partition(" ")[0] for error in found[missing]] == ["page.md:51:"]


@pytest.mark.parametrize("package", PUBLIC_PACKAGES)
def test_docstring_of_a_public_package_has_a_sample(package: str) -> None:
    assert list(docstring_blocks(package))
