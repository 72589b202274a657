"""Log lines as JSON."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from vsock_proxy.logs import EVENT, JsonFormatter, log_as_json
from vsock_proxy.relay.outcomes import Refusal, RefusalReport


def record(message: str, *arguments: object, event: object = None) -> logging.LogRecord:
    made = logging.LogRecord("vsock_proxy.x", logging.WARNING, "x.py", 1, message, arguments, None)
    made.created, made.msecs = 1_700_000_000.5, 500.0
    if event is not None:
        setattr(made, EVENT, event)
    return made


def test_record_is_one_object_with_time_level_logger_and_message() -> None:
    line = JsonFormatter().format(record("two lines:\n%s", "é"))
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.500Z",
        "level": "warning",
        "logger": "vsock_proxy.x",
        "message": "two lines:\né",
    }


def test_event_adds_its_own_fields() -> None:
    report = RefusalReport("a peer", "a -> b", Refusal.CONNECT, "no answer")
    fields = json.loads(JsonFormatter().format(record("%s", report, event=report)))
    assert fields["message"] == str(report)
    assert (fields["event"], fields["reason"], fields["detail"]) == ("refused", "connect", "no answer")


def test_exception_is_in_the_object() -> None:
    made = record("failed")
    try:
        int("nothing")
    except ValueError:
        made.exc_info = sys.exc_info()
    assert "ValueError: invalid literal" in json.loads(JsonFormatter().format(made))["exception"]


@pytest.fixture
def handlers() -> Iterator[list[logging.Handler]]:
    logger = logging.getLogger("vsock_proxy.nobody")
    logger.handlers = [logging.NullHandler(), logging.NullHandler()]
    yield logger.handlers
    logger.handlers = []


def test_every_handler_of_the_package_writes_json(handlers: list[logging.Handler]) -> None:
    log_as_json("vsock_proxy.nobody")
    assert all(isinstance(handler.formatter, JsonFormatter) for handler in handlers)
