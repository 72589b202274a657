"""Signatures by KMS's clock, once KMS has refused one by the enclave's own.

A signature counts for five minutes, and nothing sets an enclave's clock while it runs. KMS writes its time into every
answer, inside TLS, where nobody on the parent can change it. botocore measures that difference for a header of its
retries only, and signs by the system's clock; what it offers is used here: its events to retry and to choose a signer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast

from botocore.auth import AUTH_TYPE_MAPS, SIGV4_TIMESTAMP, SigV4Auth

if TYPE_CHECKING:
    from botocore.credentials import Credentials as BotocoreCredentials
    from mypy_boto3_kms import KMSClient

MAX_CLOCK_OFFSET_S = 3_600
"""Most seconds that are corrected. Enclave clocks drift by seconds a week: an hour is not drift but a clock that is
broken, or one that somebody has set."""
SIGNATURE_TOLERANCE_S = 300
"""How far a signature's time may be from AWS's. Source: IAM user guide, "Signature Version 4": five minutes."""
CLOCK_OFFSET = "ClockOffsetS"
"""Where an error answer's ResponseMetadata says by how many seconds KMS's clock is ahead; negative for behind."""

_SIGNATURE_VERSION = "v4"
_SHIFTED_VERSION = "kmstool-shifted-v4"
_OFFSET_IN_CONTEXT = "kmstool_clock_offset"
_IS_CORRECTED = "kmstool_clock_corrected"

_SKEW_CODES = frozenset({"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"})
"""Source: the errors that AWS's SDKs take for clock skew whatever the text."""
_SKEW_TEXTS = {"InvalidSignatureException": ("Signature expired", "Signature not yet current")}
"""Codes that have other reasons too, and how KMS's text begins when it is the clock."""

_logger = logging.getLogger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(repr=False)  # it would show the session token
class SignableRequest:
    """What botocore's signer looks at of a request, without what its AWSRequest works out anew at every look.

    Attributes:
        headers: gets the signature, and what belongs to it.
        params: of the query; KMS's requests have none.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    params: dict[str, str] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)


class KmsClock:
    """How far KMS's clock is from the enclave's. Share one between clients; safe to share between threads.

    Does not touch the system's clock, by which TLS goes on judging certificates.

    Args:
        now: the enclave's clock.

    Attributes:
        offset: what is added to the enclave's time for a signature; none until KMS refuses one.
    """

    def __init__(self, now: Callable[[], datetime] = _utc_now) -> None:
        self._now = now
        self.offset = timedelta()

    def attach(self, client: KMSClient) -> None:
        """Have every request of ``client`` signed by this clock, and signed again, once, when KMS refuses its time."""
        events: Any = client.meta.events  # botocore-stubs have no handlers that return something
        events.register("choose-signer.kms", self._choose_signer)
        events.register("needs-retry.kms", self._correct)

    def sign(self, request: SignableRequest, credentials: BotocoreCredentials, region: str) -> None:
        """Sign a request to KMS in ``region``, for callers that have no client to do it."""
        signer = _ShiftedSigV4Auth if self.offset else SigV4Auth
        request.context[_OFFSET_IN_CONTEXT] = self.offset
        signer(credentials, "kms", region).add_auth(cast("Any", request))

    def _choose_signer(self, signature_version: str, context: dict[str, Any], **_: object) -> str | None:
        if not self.offset or signature_version != _SIGNATURE_VERSION:
            return None
        context[_OFFSET_IN_CONTEXT] = self.offset
        return _SHIFTED_VERSION

    def _correct(self, response: tuple[Any, dict[str, Any]] | None, request_dict: Any, **_: object) -> float | None:
        """Return how long to wait before the next attempt, or None where the clock calls for none."""
        if response is None or not is_skew_error(response[1].get("Error", {})):
            return None
        offset = self.measure(response[0].headers.get("Date"))
        if offset is None:
            return None
        response[1].setdefault("ResponseMetadata", {})[CLOCK_OFFSET] = round(offset.total_seconds())
        context = request_dict["context"]
        if context.get(_IS_CORRECTED) or abs(offset.total_seconds()) > MAX_CLOCK_OFFSET_S:
            return None
        context[_IS_CORRECTED] = True
        self._take(offset)
        return 0.0

    def measure(self, date: object) -> timedelta | None:
        """Return how far KMS's clock is ahead of the enclave's, or None where ``date`` tells no time.

        Args:
            date: of a Date header (RFC 9110 section 5.6.7), which has whole seconds.
        """
        try:
            return parsedate_to_datetime(str(date)).astimezone(UTC) - self._now()
        except (ValueError, OverflowError):  # no such header, or no such date
            return None

    def _take(self, offset: timedelta) -> None:
        if abs(offset - self.offset) > timedelta(seconds=1):  # of many requests refused at once, one is worth a line
            _logger.warning(
                "clock: KMS's is %+.0f s from the enclave's: signing by KMS's from now on", offset.total_seconds()
            )
        self.offset = offset


def is_skew_error(error: dict[str, Any]) -> bool:
    """Return whether the Error of an answer says that the time of the signature was wrong."""
    code, text = str(error.get("Code")), str(error.get("Message"))
    return code in _SKEW_CODES or text.startswith(_SKEW_TEXTS.get(code, ("\0",)))


class _ShiftedSigV4Auth(SigV4Auth):
    """botocore's signer with its idea of the time moved by what the request's context says."""

    def _modify_request_before_signing(self, request: Any) -> None:
        signed_at = datetime.strptime(request.context["timestamp"], SIGV4_TIMESTAMP).replace(tzinfo=UTC)
        request.context["timestamp"] = (signed_at + request.context[_OFFSET_IN_CONTEXT]).strftime(SIGV4_TIMESTAMP)
        super()._modify_request_before_signing(request)  # type: ignore[misc] # private, so botocore-stubs leave it out


AUTH_TYPE_MAPS[_SHIFTED_VERSION] = _ShiftedSigV4Auth
