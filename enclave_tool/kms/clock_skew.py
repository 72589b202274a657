"""Signs with KMS's time after KMS has refused a signature with the enclave's time.

A signature is valid for five minutes, and nothing sets an enclave's clock while it runs. KMS puts its time into every
response, inside TLS, where nobody on the parent can change it. botocore measures the difference, but uses it only for a
header of its retries, and signs with the system clock. This module uses botocore's events for retries and for the
choice of a signer.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from botocore.auth import AUTH_TYPE_MAPS, SIGV4_TIMESTAMP, SigV4Auth

from enclave_tool.kms.clock import KmsClock
from enclave_tool.kms.reasons import is_about_clock

if TYPE_CHECKING:
    from botocore.credentials import Credentials as BotocoreCredentials
    from mypy_boto3_kms import KMSClient

MAX_CLOCK_OFFSET_S = 3_600
"""Maximum difference that is corrected. Enclave clocks drift by seconds per week, so a difference of an hour is not
drift: the clock is broken, or somebody has set it."""
SIGNATURE_TOLERANCE_S = 300
"""Maximum difference between a signature's time and AWS's. Source: IAM user guide, "Signature Version 4"."""
CLOCK_OFFSET = "ClockOffsetS"
"""The key in an error response's ResponseMetadata for how many seconds KMS's clock is ahead, negative if it is slow."""

_SIGNATURE_VERSION = "v4"
_SHIFTED_VERSION = "kmstool-shifted-v4"
_OFFSET_IN_CONTEXT = "kmstool_clock_offset"
_IS_CORRECTED = "kmstool_clock_corrected"

_logger = logging.getLogger(__name__)


@dataclass(repr=False)  # it would show the session token
class SignableRequest:
    """The parts of a request that botocore's signer uses. Unlike AWSRequest, it does not compute them at each access.

    Attributes:
        headers: headers; the signer adds the signature and its companions.
        params: query parameters; KMS's requests have none.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    params: dict[str, str] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)


class ClockedSigner:
    """Signs requests with a KmsClock, and corrects that clock if KMS refuses a signature because of its time.

    Args:
        clock: the clock; clients that share one learn from each other.
    """

    def __init__(self, clock: KmsClock) -> None:
        self._clock = clock

    def attach(self, client: KMSClient) -> None:
        """Make ``client`` sign requests with the clock, and sign a request again once if KMS refuses its time."""
        events: Any = client.meta.events  # botocore-stubs do not know handlers that return a value
        events.register("choose-signer.kms", self._choose_signer)
        events.register("needs-retry.kms", self._correct)

    def sign(self, request: SignableRequest, credentials: BotocoreCredentials, region: str) -> None:
        """Sign a request to KMS in ``region``, for callers without a boto3 client."""
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
        """Correct the clock and return the wait before another attempt, or None if the clock is not the cause."""
        if response is None or not is_about_clock(response[1].get("Error", {})):
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
        # if KMS refuses many requests at once, log only one
        if abs(offset - self._clock.offset) > timedelta(seconds=1):
            _logger.warning(
                "clock: KMS's clock is %+.0f s from the enclave's: signing by KMS's clock from now on",
                offset.total_seconds(),
            )
        self._clock.offset = offset


class _ShiftedSigV4Auth(SigV4Auth):
    """botocore's signer, with its time shifted by the offset in the request's context."""

    def _modify_request_before_signing(self, request: Any) -> None:
        signed_at = datetime.strptime(request.context["timestamp"], SIGV4_TIMESTAMP).replace(tzinfo=UTC)
        request.context["timestamp"] = (signed_at + request.context[_OFFSET_IN_CONTEXT]).strftime(SIGV4_TIMESTAMP)
        super()._modify_request_before_signing(request)  # type: ignore[misc] # private, so missing in botocore-stubs


AUTH_TYPE_MAPS[_SHIFTED_VERSION] = _ShiftedSigV4Auth
