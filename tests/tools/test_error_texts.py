"""The table of error texts has every text of the sources, with what callers put into it."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

from tests.support.project.literal_texts import UNKNOWN, texts
from tests.support.project.packages import ROOT, source_files
from tools.reference.error_texts import ErrorText, error_texts
from tools.reference.sources import Sources

PLANTED = """\
from vsock_wire.errors import InputError, ToolError
MOST = 8
HINTS = {1: "first", 2: "second"}

class FieldError(ToolError):
    def __init__(self, field, reason, *, hint=None):
        super().__init__(f"field {field}: {reason}", hint=hint)

class RefusedError(FieldError):
    exit_code = 5

def constant():
    raise InputError(f"at most {MOST} of them may be there, got {len(found)}", hint="take fewer")

def chosen(count):
    got = "none" if count else "more"
    raise InputError("it has to be one, but there are " + got)

def _fail(name, problem):
    raise FieldError(name, problem)

def caller(name):
    _fail(name, "must not be empty")
    _fail("Other", f"is no {name}")

def mapped(code):
    raise RefusedError("Code", "is not one of those that exist", hint=HINTS.get(code))

def forwarded(error):
    raise InputError(str(error))
"""


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> list[ErrorText]:
    module = types.ModuleType("planted")
    monkeypatch.setitem(sys.modules, "planted", module)
    exec(PLANTED, vars(module))  # noqa: S102 - the text above
    sources = Sources()
    sources.add(module, PLANTED)
    return error_texts(sources)


def test_planted_texts_are_read_with_class_exit_code_and_hint(planted: list[ErrorText]) -> None:
    assert [(error.text, error.kind, error.exit_code, error.hint) for error in planted] == [
        ("at most 8 of them may be there, got {length of found}", "InputError", "2", "take fewer"),
        ("field Code: is not one of those that exist", "RefusedError", "5", "first"),
        ("field Code: is not one of those that exist", "RefusedError", "5", "second"),
        ("field Other: is no {name}", "FieldError", "1", ""),
        ("field {name}: must not be empty", "FieldError", "1", ""),
        ("it has to be one, but there are more", "InputError", "2", ""),
        ("it has to be one, but there are none", "InputError", "2", ""),
    ]


@pytest.fixture(scope="module")
def table() -> list[ErrorText]:
    return error_texts(Sources.read())


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_literal_text_and_hint_is_in_the_table(path: Path, table: list[ErrorText]) -> None:
    there = [text for error in table for text in (error.text, error.hint)]
    missing = []
    for line, kind, literal in texts(path.read_text("utf-8")):
        pattern = ".*".join(re.escape(part) for part in literal.split(UNKNOWN))
        if len(re.findall(r"[^\W\d_]{2,}", literal)) > 1 and not any(re.search(pattern, text) for text in there):
            missing.append(f"line {line}: {kind}: {literal}")
    assert missing == []
