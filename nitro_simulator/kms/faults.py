"""KMS's errors that no request causes by itself, such as throttling: a test says when they come.

Source: the KMS API's model in botocore, and KMS API reference, "Common errors". KMS answers some errors without a text.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from nitro_simulator.errors import KmsFault
from nitro_simulator.kms.request_model import kms_service_model

THROTTLING = "ThrottlingException"
COMMON_FAULTS: Mapping[str, tuple[int, str | None]] = {
    "AccessDeniedException": (400, None),
    "ExpiredTokenException": (400, "The security token included in the request is expired"),
    "IncompleteSignatureException": (400, None),
    "InternalFailure": (500, None),
    "InvalidSignatureException": (400, None),
    "MissingAuthenticationTokenException": (400, "Missing Authentication Token"),
    "OptInRequired": (403, None),
    "RequestExpired": (400, None),
    "RequestTimeoutException": (408, None),
    "ServiceUnavailableException": (503, None),
    THROTTLING: (400, "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls."),
    "UnrecognizedClientException": (400, "The security token included in the request is invalid."),
    "ValidationException": (400, None),
}
"""Errors that the model does not list, with status and text."""
FAULTS_OF_KMS = frozenset({"DependencyTimeoutException", "KMSInternalException", "KeyUnavailableException"})
"""What the model calls faults of the service: their status is 500, that of its other errors 400."""


@dataclass
class _Planned:
    fault: KmsFault
    operation: str | None
    left: int


class PlannedFaults:
    """Errors to answer with instead of looking at a request. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[_Planned] = []

    def add(self, fault: KmsFault, *, operation: str | None, count: int) -> None:
        """Answer the next ``count`` requests for an operation, or for any if it is None, with ``fault``."""
        if count < 1:
            raise ValueError(f"count: expected 1 or more, got {count}")
        with self._lock:
            self._planned.append(_Planned(fault, operation, count))

    def clear(self) -> None:
        """Forget all that have not come yet."""
        with self._lock:
            self._planned.clear()

    def raise_next(self, operation: str) -> None:
        """Raise the error that is planned for a request, if there is one; the one that was added first."""
        with self._lock:
            planned = next((each for each in self._planned if each.operation in (None, operation)), None)
            if planned is None:
                return
            planned.left -= 1
            if not planned.left:
                self._planned.remove(planned)
        raise KmsFault(planned.fault.code, planned.fault.message, planned.fault.http_status)


def documented_fault(code: str, message: str | None = None) -> KmsFault:
    """Return the error of KMS with a code, with KMS's HTTP status and, if its text is known, with that.

    Args:
        code: such as ``KMSInternalException``.
        message: the text, if not KMS's.

    Raises:
        ValueError: KMS has no such error.
    """
    if code in COMMON_FAULTS:
        status, text = COMMON_FAULTS[code]
        return KmsFault(code, text if message is None else message, status)
    model = kms_service_model()
    shape = model.shape_for(code) if code in model.shape_names else None
    if shape is None or not shape.metadata.get("exception"):
        raise ValueError(f"KMS has no error {code}")
    status = HTTPStatus.INTERNAL_SERVER_ERROR if code in FAULTS_OF_KMS else HTTPStatus.BAD_REQUEST
    return KmsFault(code, message, status)
