"""Signatures by KMS's clock, once KMS has refused one by the enclave's own.

A signature counts for five minutes, and nothing sets an enclave's clock while it runs. KMS writes its time into every
answer, inside TLS, where nobody on the parent can change it. botocore measures that difference for a header of its
retries only, and signs by the system's clock; what it offers is used here: its events to retry and to choose a signer.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from botocore.auth import AUTH_TYPE_MAPS, SIGV4_TIMESTAMP, SigV4Auth

from enclave_tool.kms.clock import KmsClock

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


class ClockedSigner:
    """Signs requests by a KmsClock, and corrects that clock when KMS refuses a signature for its time.

    Args:
        clock: shared by all clients that are to learn from each other.
    """

    def __init__(self, clock: KmsClock) -> None:
        self._clock = clock

    def attach(self, client: KMSClient) -> None:
        """Have every request of ``client`` signed by the clock, and signed again, once, when KMS refuses its time."""
        events: Any = client.meta.events  # botocore-stubs have no handlers that return something
        events.register("choose-signer.kms", self._choose_signer)
        events.register("needs-retry.kms", self._correct)

    def sign(self, request: SignableRequest, credentials: BotocoreCredentials, region: str) -> None:
        """Sign a request to KMS in ``region``, for callers that have no client to do it."""
        offset = self._clock.offset
        signer = _ShiftedSigV4Auth if offset else SigV4Auth
        request.context[_OFFSET_IN_CONTEXT] = offset
        signer(credentials, "kms", region).add_auth(cast("Any", request))

    def _choose_signer(self, signature_version: str, context: dict[str, Any], **_: object) -> str | None:
        offset = self._clock.offset
        if not offset or signature_version != _SIGNATURE_VERSION:
            return None
        context[_OFFSET_IN_CONTEXT] = offset
        return _SHIFTED_VERSION

    def _correct(self, response: tuple[Any, dict[str, Any]] | None, request_dict: Any, **_: object) -> float | None:
        """Return how long to wait before the next attempt, or None where the clock calls for none."""
        if response is None or not is_skew_error(response[1].get("Error", {})):
            return None
        offset = self._clock.measure(response[0].headers.get("Date"))
        if offset is None:
            return None
        response[1].setdefault("ResponseMetadata", {})[CLOCK_OFFSET] = round(offset.total_seconds())
        context = request_dict["context"]
        if context.get(_IS_CORRECTED) or abs(offset.total_seconds()) > MAX_CLOCK_OFFSET_S:
            return None
        context[_IS_CORRECTED] = True
        self._take(offset)
        return 0.0

    def _take(self, offset: timedelta) -> None:
        # of many requests refused at once, one is worth a line
        if abs(offset - self._clock.offset) > timedelta(seconds=1):
            _logger.warning(
                "clock: KMS's clock is %+.0f s from the enclave's: signing by KMS's clock from now on",
                offset.total_seconds(),
            )
        self._clock.offset = offset


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
