from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest

from vsock_wire.cli.logs import JsonFormatter, TextFormatter, set_up_logging


class TestSetUpLogging:
    @pytest.fixture(autouse=True)
    def _loggers(self) -> Iterator[None]:
        names = ("package", "vsock_wire")
        yield
        for name in names:
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [], True
            logger.setLevel(logging.NOTSET)
        root = logging.getLogger()
        root.handlers = [handler for handler in root.handlers if not isinstance(handler, logging.NullHandler)]

    @pytest.mark.parametrize(
        ("verbosity", "expected"), [(-1, "e"), (0, "e"), (1, "ew"), (2, "ewi"), (3, "ewid"), (9, "ewid")]
    )
    def test_level_follows_verbosity(self, capsys: pytest.CaptureFixture[str], verbosity: int, expected: str) -> None:
        set_up_logging("package", verbosity=verbosity)
        logger = logging.getLogger("package.module")
        for level in (logger.error, logger.warning, logger.info, logger.debug):
            level("%s", level.__name__[0])
        assert [line[-1] for line in capsys.readouterr().err.splitlines()] == list(expected)

    def test_other_libraries_log_nothing_even_at_maximum_verbosity(self, capsys: pytest.CaptureFixture[str]) -> None:
        set_up_logging("package", verbosity=9)
        logging.getLogger("botocore.auth").error("the session token")
        assert capsys.readouterr().err == ""

    def test_record_stays_on_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        set_up_logging("package", verbosity=1)
        logging.getLogger("package").warning("peer says %s", "a\n2031-01-01 ERROR forged\x1b[2J")
        assert capsys.readouterr().err.count("\n") == 1

    def test_text_line_begins_with_the_time_in_utc(self, capsys: pytest.CaptureFixture[str]) -> None:
        set_up_logging("package", verbosity=1)
        logging.getLogger("package").warning("text")
        line = capsys.readouterr().err
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING package: text\n", line)

    def test_json_is_one_object_a_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        set_up_logging("package", verbosity=1, log_format="json")
        logging.getLogger("package").warning("two\n%s", "lines")
        fields = json.loads(capsys.readouterr().err)
        assert fields.pop("time").endswith("Z")
        assert fields == {"level": "warning", "logger": "package", "message": "two\nlines"}


@pytest.mark.parametrize("formatter", [TextFormatter("%(asctime)s"), JsonFormatter()], ids=["text", "json"])
def test_time_does_not_depend_on_the_local_zone(formatter: logging.Formatter, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    record = logging.LogRecord("package", logging.WARNING, "x.py", 1, "text", None, None)
    record.created, record.msecs = 1_700_000_000.5, 500.0
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert "2023-11-14T22:13:20.500Z" in formatter.format(record)
    finally:
        monkeypatch.undo()
        time.tzset()
