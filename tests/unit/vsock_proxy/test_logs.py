"""Log lines: as JSON, as text, and for a reader that does not read."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from vsock_proxy.logs import (
    EVENT,
    EXIT_WAIT_S,
    MAX_UNWRITTEN_BYTES,
    PIECE_BYTES,
    JsonFormatter,
    LogWriter,
    log_event,
    write_without_waiting,
)
from vsock_proxy.relay.outcomes import ConnectionReport, Ending, EndReason, Refusal, RefusalReport
from vsock_wire.cli.logs import set_up_logging


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


REPORT = ConnectionReport("a peer", "a -> b", 1, 2, 0.5, Ending(EndReason.CLOSED))


class Reader:
    """What stands for standard error, and reads it."""

    def __init__(self, kind: str, folder: Path, stack: ExitStack) -> None:
        self._file = folder / "log"
        self.kind = kind
        if kind == "socket":
            ours, theirs = socket.socketpair()
            self.number, self._end = ours.detach(), theirs.detach()
        elif kind == "file":
            self.number = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            self._end = os.open(self._file, os.O_RDONLY)
        else:
            self._end, self.number = os.pipe()
        os.set_blocking(self._end, False)
        stack.callback(os.close, self._end)
        stack.callback(os.close, self.number)

    def read(self) -> str:
        data = b""
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self._end, 1_048_576):
                data += part
        return data.decode()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def open_writer(reader: Reader, stack: ExitStack) -> LogWriter:
    writer = LogWriter(reader.number)
    stack.callback(writer.finish)
    return writer


@pytest.mark.parametrize("kind", ["pipe", "socket", "file"])
def test_lines_are_written_together_and_in_order(kind: str, tmp_path: Path, stack: ExitStack) -> None:
    reader = Reader(kind, tmp_path, stack)
    writer = open_writer(reader, stack)
    for number in range(3):
        writer.write(f"line {number}")
    assert reader.read() == ""
    writer.flush()
    assert reader.read() == "line 0\nline 1\nline 2\n"


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_reader_that_does_not_read_costs_bounded_memory_and_no_wait(
    kind: str, tmp_path: Path, stack: ExitStack
) -> None:
    reader = Reader(kind, tmp_path, stack)
    writer = open_writer(reader, stack)
    count = 4 * MAX_UNWRITTEN_BYTES // 100
    for number in range(count):
        writer.write(f"line {number:<94}")
        writer.flush()
    assert writer.unwritten_bytes <= MAX_UNWRITTEN_BYTES
    text = ""
    while part := reader.read():
        text += part
        writer.flush()
    lines = text.splitlines()
    kept = [line for line in lines if line.startswith("line ")]
    (said,) = [line for line in lines if not line.startswith("line ")]
    assert kept == [f"line {number:<94}" for number in range(len(kept))]
    assert said == f"{count - len(kept)} log lines were lost: nothing read standard error"
    assert os.get_blocking(reader.number), "the flag belongs to all processes that share the file"


def test_writes_of_a_pipe_are_whole_lines(tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the lines of two processes that share the pipe would mix."""
    pieces: list[bytes] = []
    write = os.write

    def record(number: int, data: bytes) -> int:
        pieces.append(data)
        return write(number, data)

    writer = open_writer(Reader("pipe", tmp_path, stack), stack)
    for _ in range(300):
        writer.write("x" * 99)
    monkeypatch.setattr(os, "write", record)
    writer.flush()
    assert all(len(piece) <= PIECE_BYTES and piece.endswith(b"\n") for piece in pieces)
    assert len(pieces) == 8


def test_pipe_that_cannot_be_opened_again_is_asked_first(
    tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader("pipe", tmp_path, stack)

    def refuse(*_: object) -> int:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        writer = open_writer(reader, stack)
    for _ in range(2_000):
        writer.write("x" * 99)
        writer.flush()
    assert writer.unwritten_bytes > 0
    assert reader.read()


def test_exit_writes_what_is_left_if_somebody_reads(tmp_path: Path, stack: ExitStack) -> None:
    reader = Reader("pipe", tmp_path, stack)
    writer = LogWriter(reader.number)
    for _ in range(5_000):
        writer.write("x" * 99)
    received: list[str] = []

    def read() -> None:
        while sum(map(len, received)) < 500_000:
            received.append(reader.read())

    thread = threading.Thread(target=read)
    thread.start()
    writer.finish()
    thread.join(10)
    assert sum(map(len, received)) == 500_000


def test_exit_waits_briefly_for_a_reader_that_does_not_read(
    tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter(Reader("pipe", tmp_path, stack).number)
    for _ in range(5_000):
        writer.write("x" * 99)
    waits: list[float] = []
    monkeypatch.setattr("vsock_proxy.logs.time.monotonic", lambda: sum(waits))
    monkeypatch.setattr(type(writer._sink), "wait", lambda _sink, seconds: waits.append(seconds))
    writer.finish()
    assert waits == [EXIT_WAIT_S]


def test_reader_that_has_gone_loses_lines_and_nothing_else() -> None:
    end, number = os.pipe()
    os.close(end)
    writer = LogWriter(number)
    writer.write("for nobody")
    writer.flush()
    assert writer.unwritten_bytes == 0
    writer.finish()
    os.close(number)


@pytest.fixture
def package() -> Iterator[str]:
    loggers = [logging.getLogger(name) for name in ("vsock_proxy", "vsock_wire")]
    kept = [(logger, logger.handlers, logger.propagate, logger.level) for logger in loggers]
    set_up_logging("vsock_proxy", verbosity=2)
    yield "vsock_proxy"
    for logger, handlers, propagate, level in kept:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.mark.parametrize("as_json", [False, True])
def test_report_looks_the_same_by_both_ways(package: str, as_json: bool, tmp_path: Path, stack: ExitStack) -> None:
    reader = Reader("pipe", tmp_path, stack)
    writer, log = write_without_waiting(package, reader.number, as_json=as_json)
    stack.callback(writer.finish)
    log(logging.INFO, REPORT)
    log_event(logging.INFO, REPORT)
    writer.flush()
    short, long = (re.sub(r"\d\d:\d\d:\d\d\.\d\d\d", "TIME", line) for line in reader.read().splitlines())
    assert short == long
    assert "TIME" in short
    if as_json:
        assert json.loads(short)["to_client_bytes"] == 2


def test_report_below_the_level_is_not_written(package: str, tmp_path: Path, stack: ExitStack) -> None:
    logging.getLogger(package).setLevel(logging.WARNING)
    reader = Reader("pipe", tmp_path, stack)
    writer, log = write_without_waiting(package, reader.number, as_json=False)
    stack.callback(writer.finish)
    log(logging.INFO, REPORT)
    log(logging.WARNING, RefusalReport("a\npeer", "a -> b", Refusal.CONNECT, "no answer"))
    writer.flush()
    (line,) = reader.read().splitlines()
    assert line.endswith(" WARNING vsock_proxy.logs: refused a\\npeer: a -> b: no answer")
