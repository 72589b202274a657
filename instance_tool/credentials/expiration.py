"""When credentials end, as AWS writes it (pure)."""

from __future__ import annotations

from datetime import UTC, datetime


def parse_expiration(text: str | None) -> datetime | None:
    """Return the time that ``text`` names in ISO 8601, in UTC where it names no zone; None where it is no time."""
    try:
        expiration = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return expiration if expiration.tzinfo else expiration.replace(tzinfo=UTC)
