"""Errors of this package. It raises no others for what stands in a document, a policy or a file of measurements.

Error text is lower case without a full stop and holds no secret; what a stranger wrote is quoted and cut.
"""

from __future__ import annotations


class NitroAttestationError(Exception):
    """Base class of this package's errors; programmer mistakes stay ``ValueError`` and ``TypeError``.

    Attributes:
        hint: what the reader can do about it, or None where that is not known.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class AttestationError(NitroAttestationError):
    """An attestation document is malformed, or does not prove what it says.

    Attributes:
        field: the part of the document that failed, such as "pcrs[3]", "certificate" or "signature".
        reason: what was expected of it, and what it is.
    """

    def __init__(self, field: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"attestation document: {field}: {reason}", hint=hint)
        self.field = field
        self.reason = reason


class DocumentFileError(NitroAttestationError):
    """A file holds no attestation document in any form that is read here."""


class PolicyError(NitroAttestationError):
    """A key policy is malformed, or says something that is not evaluated here."""


class MeasurementError(NitroAttestationError):
    """Measurements of an enclave image are malformed, or identify no image."""
