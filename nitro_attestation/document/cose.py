"""Attestation documents of Nitro Enclaves: parse one, and verify who signed it (pure).

A document is a COSE_Sign1 (RFC 9052 section 4.2) with ES384 (RFC 9053 section 2.1): the payload is read in
``payload``, the certificates are judged in ``chain``, and the signature here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from nitro_attestation.document.cbor import decode_strict_cbor
from nitro_attestation.document.chain import verify_chain
from nitro_attestation.document.payload import AttestationDocument, parse_unverified_payload
from nitro_attestation.errors import AttestationError

AWS_NITRO_ROOT_SHA256 = bytes.fromhex("641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b")
"""SHA-256 of AWS_NitroEnclaves_Root-G1 in DER. Source: AWS Nitro Enclaves user guide, "Verifying the root of trust"."""

MAX_DOCUMENT_BYTES = 262_144
"""KMS API, RecipientInfo: AttestationDocument. The NSM's own answers end at 12,288."""
COSE_SIGN1_TAG = b"\xd2"
"""CBOR tag 18, which may precede the array; the NSM leaves it off."""
COSE_ALGORITHM = 1
"""The header parameter alg."""
ES384 = -35
ES384_SIGNATURE_BYTES = 96


@dataclass(frozen=True)
class _Sign1:
    protected: bytes
    payload: bytes
    signature: bytes


def parse_unverified_document(document: bytes) -> AttestationDocument:
    """Parse a document and check its form.

    Does not verify the signature or the certificates: anyone could have made it.

    Args:
        document: COSE_Sign1, with tag 18 or without, at most MAX_DOCUMENT_BYTES bytes.

    Raises:
        AttestationError: it is not of the specified form; the error names the field.
    """
    return parse_unverified_payload(_decode_sign1(document).payload)


def verify_document(
    document: bytes,
    *,
    root_sha256: bytes = AWS_NITRO_ROOT_SHA256,
    at: datetime | None = None,
    nonce: bytes | None = None,
) -> AttestationDocument:
    """Verify that a document was signed under the pinned root, and return its fields.

    Does not judge the measurements (see ``pcrs`` and ``is_debug``), and without ``at`` or ``nonce`` not its age.

    Args:
        document: COSE_Sign1, with tag 18 or without, at most MAX_DOCUMENT_BYTES bytes.
        root_sha256: SHA-256 of the root certificate's DER, 32 bytes.
        at: the time, with its zone, that the certificates are judged at; None for the document's own timestamp, which
            is right for a document from an archive, and says nothing of freshness.
        nonce: bytes that the document must hold; None to accept any nonce and none.

    Raises:
        AttestationError: it is not of the specified form, its chain or signature fails, or the nonce is another; the
            error names the field.
        ValueError: ``root_sha256`` is not 32 bytes, or ``at`` has no time zone.

    Source: "Nitro Enclaves Attestation Process" of aws-nitro-enclaves-nsm-api, section 3.
    """
    if len(root_sha256) != hashes.SHA256.digest_size:
        raise ValueError(f"root_sha256: expected {hashes.SHA256.digest_size} bytes, got {len(root_sha256)}")
    if at is not None and at.utcoffset() is None:
        raise ValueError("at: expected a time with its time zone, got a naive one")
    sign1 = _decode_sign1(document)
    fields = parse_unverified_payload(sign1.payload)
    key = verify_chain(
        fields.certificate_der, fields.cabundle_der, root_sha256=root_sha256, at=fields.issued_at if at is None else at
    )
    _verify_signature(sign1, key)
    if nonce is not None and fields.nonce != nonce:
        raise AttestationError(
            "nonce",
            f"expected the nonce that was asked for, got {'none' if fields.nonce is None else 'another'}",
            hint="the document was made for another request, or is a replay",
        )
    return fields


def _decode_sign1(document: bytes) -> _Sign1:
    if not 1 <= len(document) <= MAX_DOCUMENT_BYTES:
        raise AttestationError("COSE_Sign1", f"expected 1 to {MAX_DOCUMENT_BYTES} bytes, got {len(document)}")
    try:
        parts = decode_strict_cbor(document.removeprefix(COSE_SIGN1_TAG))
    except ValueError as error:
        raise AttestationError("COSE_Sign1", str(error)) from None
    if not isinstance(parts, list) or len(parts) != 4:
        raise AttestationError("COSE_Sign1", "expected an array of 4 (RFC 9052 section 4.2), got another item")
    protected, unprotected, payload, signature = parts
    if unprotected != {}:
        raise AttestationError("unprotected header", "expected an empty map, got another item")
    sign1 = _Sign1(_part("protected header", protected), _part("payload", payload), _part("signature", signature))
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
    """Take nothing but the algorithm: a parameter nobody understood could change what the signature means."""
    try:
        header = decode_strict_cbor(protected)
    except ValueError as error:
        raise AttestationError("protected header", str(error)) from None
    # compared by type too, because Python takes true for 1 and -35.0 for -35
    if header != {COSE_ALGORITHM: ES384} or {type(item) for pair in header.items() for item in pair} != {int}:
        raise AttestationError("protected header", "expected the algorithm ES384 (-35) and nothing else, got another")


def _verify_signature(sign1: _Sign1, key: ec.EllipticCurvePublicKey) -> None:
    """Verify r and s, 48 bytes each, over the Sig_structure of RFC 9052 section 4.4."""
    half = ES384_SIGNATURE_BYTES // 2
    r, s = (int.from_bytes(part, "big") for part in (sign1.signature[:half], sign1.signature[half:]))
    signed = cbor2.dumps(["Signature1", sign1.protected, b"", sign1.payload])
    try:
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        raise AttestationError("signature", "expected one made by the certificate's key, got another") from None
