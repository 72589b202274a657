"""Objects that contain a secret do not show it when they are printed."""

from __future__ import annotations

import ast
import collections
import dataclasses
import inspect
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.project.packages import ROOT, classes, source_files

SECRET = re.compile(r"secret|token|plaintext|password|private|content_key|credential", re.IGNORECASE)
HARMLESS = re.compile(r"ttl|timeout|expires|issued|_at$|_s$|_id$|path|name|grant_tokens|max_|has_|is_", re.IGNORECASE)
"""Names that mention a secret but contain none. Source for grant tokens: KMS API, "Grant tokens are not secret"."""

TOOLS = ("vsock_wire", "enclave_tool", "instance_tool", "vsock_proxy")

RECORDS = [member for member in classes() if dataclasses.is_dataclass(member) or hasattr(member, "_fields")]
"""Dataclasses and named tuples."""


def shown_fields(member: type) -> set[str]:
    """Return the fields that the generated ``repr`` of a dataclass or a named tuple shows."""
    if hasattr(member, "_fields"):
        is_generated = member.__repr__.__module__ == collections.__name__
        return set(member._fields) if is_generated else set()
    parameters = member.__dataclass_params__  # type: ignore[attr-defined] # of every dataclass
    is_generated = hasattr(member.__repr__, "__wrapped__")  # the dataclass decorator guards its own against recursion
    if not parameters.repr or not is_generated:
        return set()
    return {field.name for field in dataclasses.fields(member) if field.repr}


@pytest.mark.parametrize("member", RECORDS, ids=lambda member: f"{member.__module__}.{member.__qualname__}")
def test_record_shows_no_field_that_is_named_for_a_secret(member: type) -> None:
    hints = {name: str(hint) for name, hint in inspect.get_annotations(member).items()}
    suspicious = {
        name
        for name in shown_fields(member)
        if SECRET.search(name) and not HARMLESS.search(name) and "Credentials" not in hints[name]
    }
    assert suspicious == set()


def test_reader_of_records_tells_shown_from_hidden() -> None:
    @dataclasses.dataclass
    class Shown:
        session_token: str
        hidden: str = dataclasses.field(default="", repr=False)

    @dataclasses.dataclass(repr=False)
    class Hidden:
        session_token: str

    @dataclasses.dataclass
    class Own:
        session_token: str

        def __repr__(self) -> str:
            return "Own(...)"

    class Named(NamedTuple):
        session_token: str

    class Quiet(NamedTuple):
        session_token: str

        def __repr__(self) -> str:
            return "Quiet(...)"

    assert shown_fields(Shown) == {"session_token"}
    assert shown_fields(Named) == {"session_token"}
    assert shown_fields(Quiet) == set()
    assert shown_fields(Own) == set()
    assert shown_fields(Hidden) == set()
    assert RECORDS


@pytest.mark.parametrize("path", source_files(*TOOLS), ids=lambda path: str(path.relative_to(ROOT)))
def test_log_calls_and_errors_are_given_no_secret_by_name(path: Path) -> None:
    """This finds only obvious mistakes; the system tests check what is really printed."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if "_logger." not in called and not called.endswith("Error") and called not in ("print", "click.echo"):
            continue
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            for part in ast.walk(argument):
                if isinstance(part, ast.FormattedValue):
                    shown = ast.unparse(part.value)
                elif part is argument and isinstance(part, (ast.Name, ast.Attribute)):
                    shown = ast.unparse(part)
                else:
                    continue
                named = shown.rpartition(".")[2]
                assert not SECRET.search(named) or HARMLESS.search(named) or "(" in named or named.isupper(), (
                    f"line {node.lineno}: {called} is given {shown}"
                )
