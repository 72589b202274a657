"""Log lines: as text or as JSON, one object per line, and written so that a reader that stops stops nothing else.

How it works. A LogWriter collects lines and writes them together: the proxy's loop flushes it once per turn. It never
waits. If nobody reads standard error, it keeps at most MAX_UNWRITTEN_BYTES, drops further lines, counts them, and says
so once the reader is back. Connection reports take a shorter way than ``logging``: that costs more per line than
relaying a short connection does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import stat
import time
from collections.abc import Mapping
from typing import Protocol

from vsock_wire.cli import logs
from vsock_wire.errors import printable

EVENT = "event"
"""Name of the log record attribute that holds an Event: ``logger.info("%s", event, extra={EVENT: event})``."""
MAX_UNWRITTEN_BYTES = 1_048_576
"""Log text kept in memory for a standard error that nobody reads: about 6,000 connections."""
PIECE_BYTES = select.PIPE_BUF
"""Largest write, so that lines of several processes do not mix in one pipe. Source: pipe(7)."""
EXIT_WAIT_S = 1.0
"""How long the exit waits for a standard error that nobody reads."""

_logger = logging.getLogger(__name__)


class Event(Protocol):
    """Something that can be logged as text (its ``str``) and as fields."""

    def fields(self) -> Mapping[str, str | int | float]:
        """Return its fields in a JSON log."""


def log_event(level: int, event: Event) -> None:
    """Log an event through ``logging``."""
    _logger.log(level, "%s", event, extra={EVENT: event})


class JsonFormatter(logs.JsonFormatter):
    """Adds the event's own fields to the JSON object of a record."""

    def more_fields(self, record: logging.LogRecord) -> Mapping[str, str | int | float]:
        """Return the fields of the record's event."""
        event: Event | None = getattr(record, EVENT, None)
        return {} if event is None else event.fields()


_JSON = JsonFormatter()
_LEVEL_TEXTS = {
    level: f"{logging.getLevelName(level)} {_logger.name}: " for level in (logging.INFO, logging.WARNING, logging.ERROR)
}


class LogWriter:
    """Writes lines to a descriptor without ever waiting for its reader.

    Args:
        descriptor: standard error, or what stands for it; stays open and keeps its flags.

    Attributes:
        unwritten_bytes: what waits to be written.
    """

    def __init__(self, descriptor: int) -> None:
        self._sink = _open_sink(descriptor)
        self._lines: list[bytes] = []
        self.unwritten_bytes = 0
        self._lost = 0

    def write(self, line: str) -> None:
        """Keep a line, without its line end, for the next ``flush``."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        if self.unwritten_bytes + len(data) > MAX_UNWRITTEN_BYTES:
            self._lost += 1
            return
        self._lines.append(data)
        self.unwritten_bytes += len(data)

    def flush(self) -> None:
        """Write what the reader takes now."""
        while self._lines:
            piece = self._next_piece()
            written = self._sink.write(piece)
            self.unwritten_bytes -= written
            if written < len(piece):
                self._lines.insert(0, piece[written:])
                return
            if self._lost:
                lost, self._lost = self._lost, 0
                self.write(f"{lost} log lines were lost: nothing read standard error")

    def _next_piece(self) -> bytes:
        """Take as many whole lines as one write holds, at least one."""
        lines = self._lines
        if self.unwritten_bytes <= PIECE_BYTES:
            self._lines = []
            return b"".join(lines)
        count = size = 0
        for line in lines:
            if size + len(line) > PIECE_BYTES and count:
                break
            size += len(line)
            count += 1
        self._lines = lines[count:]
        return b"".join(lines[:count])

    def finish(self) -> None:
        """Write the rest, but wait for the reader at most EXIT_WAIT_S; nothing can be written after this."""
        ends_s = time.monotonic() + EXIT_WAIT_S
        self.flush()
        while self._lines and (left_s := ends_s - time.monotonic()) > 0:
            self._sink.wait(left_s)
            self.flush()
        self._sink.close()


class LineHandler(logging.Handler):
    """Gives records to a LogWriter; flushes at once until a loop does that."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        self._writer.write(self.format(record))
        self._writer.flush()


class EventLog:
    """Writes events as ``log_event`` does, in a fifth of the time.

    Args:
        writer: takes the lines.
        as_json: whether lines are JSON objects.
        level: the lowest level to log.
    """

    def __init__(self, writer: LogWriter, *, as_json: bool, level: int) -> None:
        self._writer = writer
        self._as_json = as_json
        self._level = level
        self._second = 0
        self._second_text = ""

    def __call__(self, level: int, event: Event) -> None:
        """Log ``event``."""
        if level < self._level:
            return
        if self._as_json:
            record = logging.LogRecord(_logger.name, level, "", 0, str(event), (), None)
            record.event = event
            self._writer.write(_JSON.format(record))
            return
        now_s = time.time()
        second = int(now_s)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime(logs.UtcFormatter.default_time_format, time.gmtime(second))
        text = f"{self._second_text}.{int((now_s - second) * 1_000):03d}Z {_LEVEL_TEXTS[level]}{event}"
        self._writer.write(text if text.isprintable() else printable(text))


def write_without_waiting(package: str, descriptor: int, *, as_json: bool) -> tuple[LogWriter, EventLog]:
    """Make the loggers that ``set_up_logging`` gave to ``package`` write through a LogWriter.

    Returns:
        The writer, to flush once per turn and to finish at the end, and the log for events.
    """
    writer = LogWriter(descriptor)
    handler = LineHandler(writer)
    for name in (package, "vsock_wire"):
        logger = logging.getLogger(name)
        formatter = next((old.formatter for old in logger.handlers), None)
        handler.setFormatter(JsonFormatter() if as_json else formatter)
        logger.handlers = [handler]
    return writer, EventLog(writer, as_json=as_json, level=logging.getLogger(package).level)


class _Sink(Protocol):
    def write(self, data: bytes) -> int:
        """Write what can be written now; return how much."""

    def wait(self, seconds: float) -> None:
        """Wait until more can be written."""

    def close(self) -> None:
        """Let go of what the sink has opened itself."""


class _Descriptor:
    """A pipe or a terminal, opened again so that only this process's writes do not wait; or a file, which never waits.

    The flag that makes writes return at once belongs to the open file, which other processes may share.
    """

    def __init__(self, number: int, *, is_own: bool = False) -> None:
        self._number = number
        self._is_own = is_own

    def write(self, data: bytes) -> int:
        try:
            return os.write(self._number, data)
        except BlockingIOError:
            return 0
        except OSError:  # nobody can read it any more: what is lost here is lost for good
            return len(data)

    def wait(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._number, select.POLLOUT)
        poll.poll(seconds * 1_000)

    def close(self) -> None:
        if self._is_own:
            os.close(self._number)


class _Patient(_Descriptor):
    """A pipe that cannot be opened again: asked before each write, which is small enough not to wait then."""

    def write(self, data: bytes) -> int:
        poll = select.poll()
        poll.register(self._number, select.POLLOUT)
        return super().write(data) if poll.poll(0) else 0


class _Socket(_Descriptor):
    """A socket, such as the journal's: each write says by itself that it must not wait."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._socket = socket.socket(fileno=os.dup(number))

    def close(self) -> None:
        self._socket.close()

    def write(self, data: bytes) -> int:
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)


def _open_sink(number: int) -> _Sink:
    mode = os.fstat(number).st_mode
    if stat.S_ISSOCK(mode):
        return _Socket(number)
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        return _Descriptor(number)
    with contextlib.suppress(OSError):  # it belongs to another user
        return _Descriptor(os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    return _Patient(number)
