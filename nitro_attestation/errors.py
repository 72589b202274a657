"""Errors of this package. A bad document, policy or measurements file raises no others.

Error text is lower case without a full stop and contains no secrets; untrusted text in it is quoted and truncated.
"""

from __future__ import annotations

import enum
from datetime import timedelta


class NitroAttestationError(Exception):
    """Base class of this package's errors; programmer mistakes stay ``ValueError`` and ``TypeError``.

    Attributes:
        hint: what the reader can do about it, or None.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class VerificationStep(enum.IntEnum):
    """The steps of verify_document, in order. AWS specifies the first four; the others check what the caller expects.

    Source: "Nitro Enclaves Attestation Process" of aws-nitro-enclaves-nsm-api, section 3.2.
    """

    DECODING = 1
    """Decode the CBOR and map it to a COSE_Sign1."""
    CONTENT = 2
    """Extract the attestation document and check each field (section 3.2.2)."""
    CERTIFICATES = 3
    """Verify the certificate chain from the root to the leaf (sections 3.2.3 and 3.2.4)."""
    SIGNATURE = 4
    """Verify that the leaf's key signed the document."""
    AGE = 5
    """Compare the document's age with the maximum age."""
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
    """An attestation document is malformed, or does not prove what it claims.

    Attributes:
        field: the part of the document that failed, such as "pcrs[3]", "certificate" or "signature".
        reason: what is wrong with it.
        step: the step of verify_document that failed; None outside verify_document.
        slow_by: how slow the caller's clock seems to be, at least: how long after the given time the document was made
            or the certificate becomes valid. None if the document failed for another reason.
    """

    def __init__(self, field: str, reason: str, *, hint: str | None = None, slow_by: timedelta | None = None) -> None:
        super().__init__(f"attestation document: {field}: {reason}", hint=hint)
        self.field = field
        self.reason = reason
        self.step: VerificationStep | None = None
        self.slow_by = slow_by


class DocumentFileError(NitroAttestationError):
    """A file does not contain an attestation document in a supported form."""


class PolicyError(NitroAttestationError):
    """A key policy is malformed, or contains something that cannot be evaluated here."""


class MeasurementError(NitroAttestationError):
    """Measurements of an enclave image are malformed, or do not identify an image."""


class ImageError(NitroAttestationError):
    """An enclave image file, or what one is made of, is malformed or damaged.

    Attributes:
        field: the part that is wrong, such as "section 2: size", "signature: payload" or "layer 1".
        reason: what is wrong with it.
    """

    def __init__(self, field: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"{field}: {reason}", hint=hint)
        self.field = field
        self.reason = reason
