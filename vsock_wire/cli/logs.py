"""Logging of every command-line tool: to standard error, in UTC, as text or as JSON."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping

from vsock_wire.errors import printable

LOG_FORMATS = ("text", "json")
"""Values of ``--log-format``; the first is the default."""
TEXT_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)


class UtcFormatter(logging.Formatter):
    """Writes times in UTC with milliseconds, as ISO 8601: 2026-11-29T04:05:06.789Z."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    @staticmethod
    def converter(seconds: float | None) -> time.struct_time:
        """Return a time in UTC."""
        return time.gmtime(seconds)


class TextFormatter(UtcFormatter):
    """Keeps each record on one line, whatever text from a peer it contains."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of printable text."""
        return printable(super().format(record))


class JsonFormatter(UtcFormatter):
    """Formats a record as one JSON object: time, level, logger and message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of ASCII."""
        fields: dict[str, str | int | float] = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps({**fields, **self.more_fields(record)})

    def more_fields(self, _record: logging.LogRecord) -> Mapping[str, str | int | float]:
        """Return further fields of the object."""
        return {}


def set_up_logging(package: str, *, verbosity: int, log_format: str = LOG_FORMATS[0]) -> None:
    """Send the log messages of ``package`` and vsock_wire to standard error.

    Other libraries' loggers get no handler: at debug level, botocore logs whole requests, session token included.

    Args:
        package: name of the program's own package.
        verbosity: 0 for errors only, 1 to add warnings, 2 to add information, 3 or more to add debug messages.
        log_format: one of LOG_FORMATS.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter(TEXT_LINE))
    for name in (package, "vsock_wire"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(_LEVELS[max(0, min(verbosity, len(_LEVELS) - 1))])
    logging.getLogger().addHandler(logging.NullHandler())  # otherwise Python prints other libraries' warnings itself
