"""Log lines as JSON, one object per line, for log processors."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

EVENT = "event"
"""Name of the log record attribute that holds an Event: ``logger.info("%s", event, extra={EVENT: event})``."""


class Event(Protocol):
    """Something that can be logged as text (its ``str``) and as fields."""

    def fields(self) -> Mapping[str, str | int | float]:
        """Return its fields in a JSON log."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object: time (UTC), level, logger, message, and the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of ASCII."""
        fields: dict[str, str | int | float] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        event: Event | None = getattr(record, EVENT, None)
        if event is not None:
            fields |= event.fields()
        return json.dumps(fields)


def log_as_json(package: str) -> None:
    """Make the handlers that ``set_up_logging`` gave to ``package`` write JSON."""
    for handler in logging.getLogger(package).handlers:
        handler.setFormatter(JsonFormatter())
