"""All our errors have one base class and an exit code; nitro_attestation has its own base class."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from nitro_attestation.errors import NitroAttestationError
from tests.support.project.packages import PACKAGES, ROOT, classes, source_files
from vsock_wire.errors import ExitCode, ToolError

ENDINGS = ("Error", "Fault")
"""A fault is an error response of the simulator's KMS; an error is the exception that the caller raises for it."""


def exceptions(*packages: str) -> list[type[BaseException]]:
    return [member for member in classes(*packages) if issubclass(member, BaseException)]


def test_all_our_exceptions_derive_from_the_base_class() -> None:
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


PARSES = frozenset(
    {"endswith", "find", "index", "partition", "removeprefix", "removesuffix", "rpartition", "split", "startswith"}
)


def readings(source: str) -> list[str]:
    """Return the places where a program parses the text of an error, or searches it."""
    found = []
    asked: list[ast.expr]
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Call() as read, attr=method)) if method in PARSES:
                asked = [read]
            case ast.Compare(left=left, comparators=comparators):
                asked = [left, *comparators]
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re")), args=arguments):
                asked = arguments
            case _:
                continue
        texts = [ast.unparse(part) for part in asked]
        found += [
            f"line {node.lineno}: {text}"
            for text in texts
            if re.fullmatch(r"str\(\w*(error|cause|exc)\w*(\.__\w+__)?\)", text)
        ]
    return found


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_module_does_not_parse_the_text_of_an_error(path: Path) -> None:
    """Errors have attributes for code. Their texts are for people, and can change."""
    assert readings(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "str(error).partition(': ')[2]",
        "'refused' in str(error)",
        "str(error.__cause__) == 'x'",
        "re.search('x', str(exc))",
        "str(cause).startswith('x')",
    ],
)
def test_reader_of_readings_sees_each(source: str) -> None:
    assert readings(source)
