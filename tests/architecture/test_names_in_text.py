"""Files and modules that documentation, comments and docstrings name exist."""

from __future__ import annotations

import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project.packages import PACKAGES, ROOT

FOLDERS = (*PACKAGES, "tests", "tools", "bench", "deploy", "docs", "examples", "requirements", "share")
FILE_NAME = re.compile(rf"(?<![\w/.*-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w(?:\.\w+)?(?![\w*{{])")
MODULE_NAME = re.compile(rf"(?<![\w/.*-])(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+(?![\w*{{/])")
SUFFIXES = (".py", ".md", ".toml", ".yaml", ".yml", ".sh", ".c")
NOT_HERE = frozenset({"vsock_proxy/src", "docs/interop/vhost-user.rst", "vsock_wire/commit.txt"})
"""Files of AWS's vsock-proxy and of QEMU, and one that a build creates."""


def text_files() -> list[Path]:
    """Return the files to check. Tests are left out: they name files that do not exist on purpose."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return [
        ROOT / name
        for name in listed.splitlines()
        if (name.endswith(SUFFIXES) and not name.startswith("tests/"))
        or Path(name).name in ("Makefile", "Dockerfile.enclave", "Dockerfile.instance")
    ]


def missing_names(text: str) -> Iterator[str]:
    """Yield each file, module and name in a module that ``text`` mentions and that does not exist.

    A name with a part in capitals, such as deploy/NAME.pem, stands for many.
    """
    for name in set(FILE_NAME.findall(text)) - NOT_HERE:
        stands_for_many = re.search(r"(?:^|[/_.])[A-Z]+(?:[_.]|$)", name) and not name.endswith(".md")
        if not (stands_for_many or (ROOT / name).exists() or (ROOT / f"{name}.py").exists()):
            yield name
    for name in set(MODULE_NAME.findall(text)):
        if not exists(name):
            yield name


def exists(name: str) -> bool:
    """Return whether a dotted name is a module, or a name in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        folder = ROOT.joinpath(*parts[:length])
        if folder.with_suffix(".py").exists() or (folder / "__init__.py").exists():
            value: object = importlib.import_module(".".join(parts[:length]))
            for attribute in parts[length:]:
                if not hasattr(value, attribute):
                    return False
                value = getattr(value, attribute)
            return True
    return False


@pytest.mark.parametrize("path", text_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_modules_that_a_text_names_exist(path: Path) -> None:
    assert sorted(missing_names(path.read_text("utf-8"))) == []


def test_reader_sees_what_is_not_there() -> None:
    text = (
        "enclave_tool/cms.py, `vsock_wire.nothing`, nitro_attestation.errors:Nothing, tools/audit.py, deploy/NAME.pem, "
        "vsock_wire.errors.ToolError.exit_code, vsock_wire.errors.ToolError.nothing, path/to/tests/absent.py"
    )
    assert sorted(missing_names(text)) == [
        "enclave_tool/cms.py",
        "vsock_wire.errors.ToolError.nothing",
        "vsock_wire.nothing",
    ]
