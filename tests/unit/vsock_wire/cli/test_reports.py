from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import pytest

from vsock_wire.cli.reports import report_bug, report_error, report_errors_as_json
from vsock_wire.errors import ToolError


@pytest.fixture(autouse=True)
def _text_again() -> Iterator[None]:
    yield
    report_errors_as_json(None)


class TestReportError:
    def test_line_number_comes_before_the_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        report_error("tool", ToolError("bad"), line_number=3)
        assert capsys.readouterr().err == "tool: error: line 3: bad\n"

    def test_json_is_one_line_with_the_fields_of_the_program(self, capsys: pytest.CaptureFixture[str]) -> None:
        report_errors_as_json(lambda error: {"Error": str(error), "Hint": error.hint})
        report_error("tool", ToolError("bad\nline", hint="look"), line_number=3)
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert json.loads(err) == {"Line": 3, "Error": "bad\nline", "Hint": "look"}

    def test_closed_standard_error_gets_nothing(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stderr", None)
        report_error("tool", ToolError("bad"))
        assert capsys.readouterr().out == ""

    def test_standard_error_that_nobody_reads_causes_no_further_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w", buffering=1) as stderr:
            monkeypatch.setattr(sys, "stderr", stderr)
            report_error("tool", ToolError("bad"))
            os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # what is left in the buffer


def test_bug_as_json_has_its_place_but_not_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    report_errors_as_json(lambda error: {"Error": str(error)})
    try:
        dict[str, str]()["the secret"]
    except KeyError as error:
        report_bug("tool", error)
    err = capsys.readouterr().err
    fields = json.loads(err)
    assert fields["Error"] == "internal error: KeyError; this is a bug"
    assert "test_reports.py" in fields["At"][0]
    assert fields["ExitCode"] == 1
    assert "secret" not in err
