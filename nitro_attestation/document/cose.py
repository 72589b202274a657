"""Decode the COSE_Sign1 structure of an attestation document, and verify its signature (pure).

RFC 9052 section 4.2, with ES384 (RFC 9053 section 2.1). ``payload`` parses the payload, ``chain`` verifies the
certificates, and ``nitro_attestation.verification`` runs all steps in order.
"""

from __future__ import annotations

from dataclasses import dataclass

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from nitro_attestation.document.cbor import decode_strict_cbor
from nitro_attestation.document.payload import AttestationDocument, parse_unverified_payload
from nitro_attestation.errors import AttestationError

MAX_DOCUMENT_BYTES = 262_144
"""KMS API, RecipientInfo: AttestationDocument. The NSM's own responses have at most 12,288 bytes."""
COSE_SIGN1_TAG = b"\xd2"
"""CBOR tag 18, which may precede the array; the NSM omits it."""
COSE_ALGORITHM = 1
"""The header parameter alg."""
ES384 = -35
ES384_SIGNATURE_BYTES = 96


@dataclass(frozen=True)
class Sign1:
    """The parts of a COSE_Sign1 that matter; its unprotected header is empty."""

    protected: bytes
    payload: bytes
    signature: bytes


def parse_unverified_document(document: bytes) -> AttestationDocument:
    """Parse a document and check its format.

    Does not verify the signature or the certificates: anyone could have made it.

    Args:
        document: COSE_Sign1, with or without tag 18, at most MAX_DOCUMENT_BYTES bytes.

    Raises:
        AttestationError: the document is malformed; the error names the field.
    """
    return parse_unverified_payload(decode_sign1(document).payload)


def decode_sign1(document: bytes) -> Sign1:
    """Return the parts of a document. Does not verify anything.

    Args:
        document: COSE_Sign1, with or without tag 18, at most MAX_DOCUMENT_BYTES bytes.

    Raises:
        AttestationError: it is not a COSE_Sign1 whose only header is the algorithm ES384.
    """
    if not 1 <= len(document) <= MAX_DOCUMENT_BYTES:
        raise AttestationError("COSE_Sign1", f"expected 1 to {MAX_DOCUMENT_BYTES} bytes, got {len(document)}")
    try:
        parts = decode_strict_cbor(document.removeprefix(COSE_SIGN1_TAG))
    except ValueError as error:
        raise AttestationError("COSE_Sign1", str(error)) from None
    if not isinstance(parts, list) or len(parts) != 4:
        raise AttestationError("COSE_Sign1", "not an array of 4 items (RFC 9052 section 4.2)")
    protected, unprotected, payload, signature = parts
    if unprotected != {}:
        raise AttestationError("unprotected header", "not an empty map")
    sign1 = Sign1(_part("protected header", protected), _part("payload", payload), _part("signature", signature))
    _check_protected(sign1.protected)
    if len(sign1.signature) != ES384_SIGNATURE_BYTES:
        raise AttestationError(
            "signature", f"expected {ES384_SIGNATURE_BYTES} bytes (ES384), got {len(sign1.signature)}"
        )
    return sign1


def _part(field: str, value: object) -> bytes:
    if not isinstance(value, bytes):
        raise AttestationError(field, f"expected a byte string, got {type(value).__name__}")
    return value


def _check_protected(protected: bytes) -> None:
    """Allow only the algorithm: an unknown parameter could change what the signature means."""
    try:
        header = decode_strict_cbor(protected)
    except ValueError as error:
        raise AttestationError("protected header", str(error)) from None
    # compares types too, because in Python True == 1 and -35.0 == -35
    if header != {COSE_ALGORITHM: ES384} or {type(item) for pair in header.items() for item in pair} != {int}:
        raise AttestationError("protected header", "must contain the algorithm ES384 (-35) and nothing else")


def verify_signature(sign1: Sign1, key: ec.EllipticCurvePublicKey) -> None:
    """Verify r and s, 48 bytes each, over the Sig_structure of RFC 9052 section 4.4.

    Raises:
        AttestationError: another key made the signature, or signed something else.
    """
    half = ES384_SIGNATURE_BYTES // 2
    r, s = (int.from_bytes(part, "big") for part in (sign1.signature[:half], sign1.signature[half:]))
    signed = cbor2.dumps(["Signature1", sign1.protected, b"", sign1.payload])
    try:
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        raise AttestationError("signature", "not made with the certificate's key") from None
