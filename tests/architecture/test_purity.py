"""Modules that are marked as pure open nothing and read no clock."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.project.packages import ROOT, source_files

PURE = [path for path in source_files() if "(pure)" in (ast.get_docstring(ast.parse(path.read_text())) or "")[:400]]

FORBIDDEN_MODULES = frozenset(
    {
        "asyncio",
        "boto3",
        "fcntl",
        "glob",
        "http.client",
        "multiprocessing",
        "requests",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "urllib.request",
        "urllib3",
    }
)
FORBIDDEN_CALLS = frozenset(
    {
        "open",
        "input",
        "print",
        "os.open",
        "os.environ.get",
        "os.getenv",
        "os.read",
        "os.write",
        "os.urandom",
        "datetime.now",
        "datetime.utcnow",
        "datetime.today",
        "dt.datetime.now",
        "date.today",
    }
)
FORBIDDEN_METHODS = frozenset({"read_bytes", "read_text", "write_bytes", "write_text", "connect", "listen", "unlink"})

MUST_BE_PURE = {
    "vsock_wire/net/address.py",
    "vsock_wire/errors.py",
    "enclave_tool/recipient/cms.py",
    "enclave_tool/nsm/codec.py",
    "enclave_tool/kms/failures.py",
    "instance_tool/console/output.py",
    "vsock_proxy/config/allowlist.py",
}


def faults(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found += [f"imports {name}" for name in names if name in FORBIDDEN_MODULES]
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in FORBIDDEN_CALLS or (
                isinstance(node.func, ast.Attribute) and node.func.attr in FORBIDDEN_METHODS
            ):
                found.append(f"line {node.lineno}: calls {called}")
    return found


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_pure_module_opens_nothing_and_reads_no_clock(path: Path) -> None:
    assert faults(path.read_text()) == []


def test_modules_that_the_design_calls_pure_say_so() -> None:
    assert {str(path.relative_to(ROOT)) for path in PURE} >= MUST_BE_PURE


def test_every_module_of_the_protocol_is_pure() -> None:
    assert set(PURE) >= set((ROOT / "vsock_wire/protocol").glob("*.py"))


@pytest.mark.parametrize(
    "source",
    [
        "import socket",
        "from time import monotonic",
        "from urllib import request",
        "def f():\n    import threading",
        "open('x')",
        "os.open('x', 0)",
        "datetime.now(UTC)",
        "Path('x').read_bytes()",
    ],
)
def test_reader_of_faults_sees_each(source: str) -> None:
    assert faults(source)
