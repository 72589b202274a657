"""Times and durations as text (pure)."""

from __future__ import annotations

from datetime import datetime, timedelta

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def moment_text(moment: datetime) -> str:
    """Return a time in ISO 8601, to the second."""
    return moment.isoformat(timespec="seconds")


def duration_text(duration: timedelta) -> str:
    """Return a duration in its two largest units, such as "6 min 52 s"; at least "1 s"."""
    seconds = max(1, round(abs(duration.total_seconds())))
    parts: list[str] = []
    for name, size in _UNITS:
        count, seconds = divmod(seconds, size)
        if parts or count:
            parts.append(f"{count} {name}" if count else "")
    return " ".join(filter(None, parts[:2]))


def slow_clock_hint(slow_by: timedelta) -> str:
    """Return a hint for a document that is newer than the time it is checked at."""
    return f"if that is the current time, this clock seems to be slow by {duration_text(slow_by)}"
