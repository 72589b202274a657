"""Credentials that stay valid: found when first needed, and replaced before they expire.

A CredentialSource holds the current credentials and is shared by many threads. It has no thread of its own; it compares
the expiration with the clock each time a caller asks. Before the refresh window, every caller gets the current ones
without locking. Inside the window, one caller fetches new credentials while the others keep using the current ones.
After the expiration, callers wait for the one that fetches. A failed fetch answers every caller for ASK_AGAIN_S, so
that a source without new credentials is not asked by each request.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from instance_tool.credentials.expiration import parse_expiration
from instance_tool.credentials.found import FoundCredentials
from vsock_wire.errors import CredentialsError
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.recording import is_recording, record
from vsock_wire.stopwatch import milliseconds_since

REFRESH_MARGIN_S = 180
"""Length of the refresh window before credentials expire. EC2 has new ones at least five minutes before that.
Source: Amazon EC2 user guide, "Retrieve security credentials from instance metadata"."""
ASK_AGAIN_S = 1.0
"""Minimum time between two attempts to replace credentials that expire soon. A failed attempt answers every caller for
that long."""

_logger = logging.getLogger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class _Held:
    credentials: Credentials
    expires_at: datetime | None
    asked_at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class _Failure:
    error: CredentialsError
    failed_at: float = field(default_factory=time.monotonic)


class CredentialSource:
    """Returns current credentials, and replaces those that AWS rejected. Safe to share between threads.

    Does not ask AWS whether credentials are valid.

    Args:
        find: finds credentials each time it is called, such as ``find_credentials``; may take seconds.
        now: the clock with which expirations are compared.
    """

    def __init__(self, find: Callable[[], FoundCredentials], *, now: Callable[[], datetime] = _utc_now) -> None:
        self._find = find
        self._now = now
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._failure: _Failure | None = None

    @classmethod
    def fixed(cls, credentials: Credentials) -> Self:
        """Return a source that always gives ``credentials``."""
        return cls(lambda: FoundCredentials(credentials, "the caller"))

    def current(self) -> Credentials:
        """Return credentials to use now.

        The first caller inside the refresh window fetches new credentials; others keep using the current ones, and so
        do all callers while no new ones can be found.

        Raises:
            CredentialsError: the credentials have expired, or there never were any, and none can be found.
        """
        held = self._held
        if held is not None and not self._is_due(held):
            return held.credentials
        must_have_new = held is None or self._has_ended(held)
        if not self._lock.acquire(blocking=must_have_new) and held is not None:
            return held.credentials
        try:
            return self._current_of(held, must_have_new=must_have_new)
        finally:
            self._lock.release()

    def renewed(self, refused: Credentials) -> Credentials | None:
        """Return replacements for ``refused``, which AWS reports as expired, or None if there are none."""
        with self._lock:
            if self._held is None or self._held.credentials == refused:
                try:
                    self._ask()
                except CredentialsError as error:
                    _logger.warning("credentials: expired, and no new ones were found: %s", error)
            held = self._held
        return None if held is None or held.credentials == refused else held.credentials

    def _current_of(self, seen: _Held | None, *, must_have_new: bool) -> Credentials:
        """Return credentials while holding the lock; another thread may have found new ones in the meantime."""
        held = self._held
        if held is not None and held is not seen:
            return held.credentials
        try:
            return self._ask().credentials
        except CredentialsError as error:
            if held is None or must_have_new:
                raise
            _logger.warning("credentials: expire soon, and no new ones were found: %s", error)
            self._held = _Held(held.credentials, held.expires_at)
            return held.credentials

    def _ask(self) -> _Held:
        failure = self._failure
        if failure is not None and time.monotonic() - failure.failed_at < ASK_AGAIN_S:
            error = failure.error
            raise CredentialsError(str(error), provider=error.provider, variable=error.variable, hint=error.hint)
        started = time.perf_counter()
        try:
            found = self._find()
        except CredentialsError as error:
            self._failure = _Failure(error)
            raise
        if is_recording():
            from vsock_wire.protocol.trace import CredentialsFound  # noqa: PLC0415 - not for calls that nobody records

            record(CredentialsFound(found.source, milliseconds_since(started)))
        _logger.info("credentials: from %s", found.description)
        self._failure = None
        self._held = _Held(found.credentials, parse_expiration(found.credentials.expiration))
        return self._held

    def _is_due(self, held: _Held) -> bool:
        if held.expires_at is None or self._now() < held.expires_at - timedelta(seconds=REFRESH_MARGIN_S):
            return False
        return time.monotonic() - held.asked_at >= ASK_AGAIN_S

    def _has_ended(self, held: _Held) -> bool:
        return held.expires_at is not None and self._now() >= held.expires_at
