"""Parsing of the expiration times of AWS credentials (pure)."""

from __future__ import annotations

from datetime import UTC, datetime


def parse_expiration(text: str | None) -> datetime | None:
    """Return an ISO 8601 time, taken as UTC if it has no zone, or None if ``text`` is not a time."""
    try:
        expiration = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return expiration if expiration.tzinfo else expiration.replace(tzinfo=UTC)
