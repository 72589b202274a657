"""KMS's clock, as far as its responses have told it.

``enclave_tool.kms.clock_skew`` signs by it and corrects it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


class KmsClock:
    """How far KMS's clock is from the enclave's. Safe to share between threads.

    Clients that share one need only the first of them to be refused to learn the difference. Does not touch the
    system's clock, by which TLS goes on judging certificates.

    Args:
        now: the enclave's clock; by default the system's.

    Attributes:
        offset: what is added to the enclave's time for a signature; zero until KMS refuses one.
    """

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        self._now = now or _utc_now
        self.offset = timedelta()

    def measure(self, date: object) -> timedelta | None:
        """Return how far KMS's clock is ahead of the enclave's, or None where ``date`` tells no time.

        Args:
            date: of a Date header (RFC 9110 section 5.6.7), which has whole seconds.
        """
        try:
            return parsedate_to_datetime(str(date)).astimezone(UTC) - self._now()
        except (ValueError, OverflowError):  # no such header, or no such date
            return None


def _utc_now() -> datetime:
    return datetime.now(UTC)
