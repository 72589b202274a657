"""One root for every error of ours, and an exit code for each; the library nitro_attestation has its own root."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from nitro_attestation.errors import NitroAttestationError
from tests.support.project.packages import PACKAGES, ROOT, classes, source_files
from vsock_wire.errors import ExitCode, ToolError

ENDINGS = ("Error", "Fault")
"""A fault is what the simulator's KMS answers with; an error is what its caller makes of that."""


def exceptions(*packages: str) -> list[type[BaseException]]:
    return [member for member in classes(*packages) if issubclass(member, BaseException)]


def test_every_exception_of_ours_is_below_the_root() -> None:
    roots = (ToolError, NitroAttestationError)
    strays = {error for error in exceptions() if not issubclass(error, roots) and not error.__name__.startswith("_")}
    assert strays == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_exceptions_of_a_package_end_in_error_and_say_what_they_mean(package: str) -> None:
    for error in exceptions(package):
        assert error.__name__.endswith(ENDINGS), error
        assert error.__doc__, error


def test_design_names_are_there() -> None:
    names = {error.__name__ for error in exceptions()}
    assert {"WireError", "TransportError", "NsmError", "CmsError", "KmsError", "CredentialsError"} <= names


def test_every_error_has_an_exit_code_of_failure() -> None:
    for error in exceptions():
        if issubclass(error, ToolError):
            assert error.exit_code in set(ExitCode) - {ExitCode.DONE, ExitCode.INTERRUPTED}, error


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_module_raises_no_bare_exception_and_swallows_none_silently(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = ast.unparse(node.exc).partition("(")[0]
            assert raised not in ("Exception", "BaseException", "RuntimeError"), f"line {node.lineno}"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: bare except"
        if isinstance(node, ast.Assert):
            pytest.fail(f"line {node.lineno}: an assertion vanishes under python -O")
