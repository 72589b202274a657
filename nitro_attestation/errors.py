"""Errors of this package. It raises no others for what stands in a document, a policy or a file of measurements.

Error text is lower case without a full stop and holds no secret; what a stranger wrote is quoted and cut.
"""

from __future__ import annotations

import enum
from datetime import timedelta


class NitroAttestationError(Exception):
    """Base class of this package's errors; programmer mistakes stay ``ValueError`` and ``TypeError``.

    Attributes:
        hint: what the reader can do about it, or None where that is not known.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class VerificationStep(enum.IntEnum):
    """The steps of verify_document, in their order. AWS's process text has the first four; the others are a caller's.

    Source: "Nitro Enclaves Attestation Process" of aws-nitro-enclaves-nsm-api, section 3.2.
    """

    DECODING = 1
    """Decode the CBOR and map it to a COSE_Sign1."""
    CONTENT = 2
    """Extract the attestation document from it, and check each field (section 3.2.2)."""
    CERTIFICATES = 3
    """Verify the chain of certificates from the root to the leaf (sections 3.2.3 and 3.2.4)."""
    SIGNATURE = 4
    """Verify that the leaf's key signed the document."""
    AGE = 5
    """Compare the time it was made with the maximum age."""
    NONCE = 6
    """Compare the nonce."""
    MODE = 7
    """Refuse an enclave in debug mode."""
    MEASUREMENTS = 8
    """Compare the PCRs."""
    USER_DATA = 9
    """Compare the user data."""
    PUBLIC_KEY = 10
    """Compare the public key."""


class AttestationError(NitroAttestationError):
    """An attestation document is malformed, or does not prove what it says.

    Attributes:
        field: the part of the document that failed, such as "pcrs[3]", "certificate" or "signature".
        reason: what was expected of it, and what it is.
        step: the step of verify_document that failed; None outside of it.
        slow_by: how much earlier than the document the time is that it is judged at, if that is why it fails: at least
            so much the clock seems to be slow that this time is from.
    """

    def __init__(self, field: str, reason: str, *, hint: str | None = None, slow_by: timedelta | None = None) -> None:
        super().__init__(f"attestation document: {field}: {reason}", hint=hint)
        self.field = field
        self.reason = reason
        self.step: VerificationStep | None = None
        self.slow_by = slow_by


class DocumentFileError(NitroAttestationError):
    """A file holds no attestation document in any form that is read here."""


class PolicyError(NitroAttestationError):
    """A key policy is malformed, or says something that is not evaluated here."""


class MeasurementError(NitroAttestationError):
    """Measurements of an enclave image are malformed, or identify no image."""
