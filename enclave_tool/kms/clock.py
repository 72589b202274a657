"""KMS's clock, as known from KMS's responses.

``enclave_tool.kms.clock_skew`` signs with it and corrects it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


class KmsClock:
    """The difference between KMS's clock and the enclave's. Threads can share it.

    If clients share one, KMS has to refuse only one of them before all know the difference. Does not change the system
    clock, which TLS continues to use to check certificates.

    Args:
        now: the enclave's clock; by default the system's.

    Attributes:
        offset: added to the enclave's time in a signature; zero until KMS refuses a signature.
    """

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        self._now = now or _utc_now
        self.offset = timedelta()

    def measure(self, date: object) -> timedelta | None:
        """Return how far KMS's clock is ahead of the enclave's, or None if ``date`` is not a date.

        Args:
            date: the value of a Date header (RFC 9110 section 5.6.7), which has whole seconds.
        """
        try:
            return parsedate_to_datetime(str(date)).astimezone(UTC) - self._now()
        except (ValueError, OverflowError):  # the header is missing, or is not a valid date
            return None


def _utc_now() -> datetime:
    return datetime.now(UTC)
