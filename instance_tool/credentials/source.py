"""Credentials that stay valid: found when first needed, and replaced before they expire.

A CredentialSource holds the current credentials and is shared by many threads. It compares the expiration with the
clock each time a caller asks. Before the refresh window, every caller gets the current ones without locking. Inside the
window, the first caller has new credentials fetched and waits for them, while the others keep using the current ones.
After the expiration, all callers wait.

One thread fetches for all of them, and no lock is held meanwhile. So each caller waits only as long as it wants to,
whatever the provider does: a file system, a program or a server of the user's may never answer. A failed fetch answers
every caller for ASK_AGAIN_S, so that a source without new credentials is not asked by each request.
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


class _Fetch:
    """One search for credentials, which any number of callers wait for."""

    def __init__(self) -> None:
        self.elapsed_ms = 0.0
        self._is_done = threading.Event()
        self._found: FoundCredentials | None = None
        self._error: Exception | None = None

    def end(self, outcome: FoundCredentials | Exception) -> None:
        """Give all callers the outcome."""
        if isinstance(outcome, Exception):
            self._error = outcome
        else:
            self._found = outcome
        self._is_done.set()

    def wait(self, wait_s: float | None) -> FoundCredentials:
        """Return what was found.

        Raises:
            CredentialsError: nothing was found, or nothing yet after ``wait_s`` seconds.
        """
        self._is_done.wait(wait_s)
        if isinstance(self._error, CredentialsError):
            raise _again(self._error) from self._error
        if self._error is not None:
            raise self._error
        if self._found is None:
            raise CredentialsError(
                f"no AWS credentials yet after {wait_s:.3g} s: a provider does not answer",
                hint="-v shows which; a credential_process or an SSO cache on a network file system can hang",
            )
        return self._found


def _again(error: CredentialsError) -> CredentialsError:
    """Return an equal error, because several threads must not raise the same object."""
    return CredentialsError(str(error), provider=error.provider, variable=error.variable, hint=error.hint)


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
        self._fetch: _Fetch | None = None

    @classmethod
    def fixed(cls, credentials: Credentials) -> Self:
        """Return a source that always gives ``credentials``."""
        return cls(lambda: FoundCredentials(credentials, "the caller"))

    def current(self, *, wait_s: float | None = None) -> Credentials:
        """Return credentials to use now.

        The first caller inside the refresh window waits for new credentials; others keep using the current ones, and so
        do all callers while no new ones can be found.

        Args:
            wait_s: how long to wait at most for credentials that are being fetched; None for as long as it takes.

        Raises:
            CredentialsError: the credentials have expired, or there never were any, and none can be found in time.
        """
        held = self._held
        if held is not None and not self._is_due(held):
            return held.credentials
        has_valid = held is not None and not self._has_ended(held)
        try:
            fetch, is_first = self._join(held)
            if fetch is None or (has_valid and not is_first):
                return self._present(held)
            found = fetch.wait(wait_s)
        except CredentialsError:
            if held is None or not has_valid:
                raise
            return held.credentials
        if is_first and is_recording():
            from vsock_wire.protocol.trace import CredentialsFound  # noqa: PLC0415 - not for calls that nobody records

            record(CredentialsFound(found.source, fetch.elapsed_ms))
        return found.credentials

    def renewed(self, refused: Credentials, *, wait_s: float | None = None) -> Credentials | None:
        """Return replacements for ``refused``, which AWS reports as expired, or None if there are none in time."""
        held = self._held
        if held is None or held.credentials == refused:
            try:
                fetch, _ = self._join(held)
                if fetch is not None:
                    fetch.wait(wait_s)
            except CredentialsError as error:
                _logger.warning("credentials: expired, and no new ones were found: %s", error)
        held = self._held
        return None if held is None or held.credentials == refused else held.credentials

    def _present(self, seen: _Held | None) -> Credentials:
        """Return what another thread has found in the meantime, or else what the caller saw."""
        held = self._held or seen
        if held is None:
            raise CredentialsError("no AWS credentials")
        return held.credentials

    def _join(self, seen: _Held | None) -> tuple[_Fetch | None, bool]:
        """Return the fetch in progress, or a new one, and whether it is new; None if another thread has found some.

        Raises:
            CredentialsError: a fetch failed less than ASK_AGAIN_S ago.
        """
        with self._lock:
            if self._held is not None and self._held is not seen:
                return None, False
            if self._fetch is not None:
                return self._fetch, False
            failure = self._failure
            if failure is not None and time.monotonic() - failure.failed_at < ASK_AGAIN_S:
                raise _again(failure.error) from failure.error
            fetch = self._fetch = _Fetch()
        threading.Thread(target=self._run, args=(fetch,), name="credentials", daemon=True).start()
        return fetch, True

    def _run(self, fetch: _Fetch) -> None:
        started = time.perf_counter()
        outcome: FoundCredentials | Exception
        try:
            outcome = self._find()
        except Exception as error:  # noqa: BLE001 - the callers raise it
            outcome = error
        fetch.elapsed_ms = milliseconds_since(started)
        with self._lock:
            self._fetch = None
            self._keep(outcome)
        fetch.end(outcome)

    def _keep(self, outcome: FoundCredentials | Exception) -> None:
        held = self._held
        if not isinstance(outcome, Exception):
            _logger.info("credentials: from %s", outcome.description)
            self._failure = None
            self._held = _Held(outcome.credentials, parse_expiration(outcome.credentials.expiration))
        elif isinstance(outcome, CredentialsError):
            self._failure = _Failure(outcome)
            if held is not None and self._is_due(held) and not self._has_ended(held):
                _logger.warning("credentials: expire soon, and no new ones were found: %s", outcome)
                self._held = _Held(held.credentials, held.expires_at)

    def _is_due(self, held: _Held) -> bool:
        if held.expires_at is None or self._now() < held.expires_at - timedelta(seconds=REFRESH_MARGIN_S):
            return False
        return time.monotonic() - held.asked_at >= ASK_AGAIN_S

    def _has_ended(self, held: _Held) -> bool:
        return held.expires_at is not None and self._now() >= held.expires_at
