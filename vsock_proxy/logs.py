"""Log lines as JSON, one object per line, for log processors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from vsock_wire.cli import logs

EVENT = "event"
"""Name of the log record attribute that holds an Event: ``logger.info("%s", event, extra={EVENT: event})``."""


class Event(Protocol):
    """Something that can be logged as text (its ``str``) and as fields."""

    def fields(self) -> Mapping[str, str | int | float]:
        """Return its fields in a JSON log."""


class JsonFormatter(logs.JsonFormatter):
    """Adds the event's own fields to the JSON object of a record."""

    def more_fields(self, record: logging.LogRecord) -> Mapping[str, str | int | float]:
        """Return the fields of the record's event."""
        event: Event | None = getattr(record, EVENT, None)
        return {} if event is None else event.fields()


def log_as_json(package: str) -> None:
    """Make the handlers that ``set_up_logging`` gave to ``package`` write JSON."""
    for handler in logging.getLogger(package).handlers:
        handler.setFormatter(JsonFormatter())
