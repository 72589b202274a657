"""The attestation document of an explained call, and what is to be said of it (pure)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from nitro_attestation.document.cose import parse_unverified_document, verify_document
from nitro_attestation.document.payload import AttestationDocument
from nitro_attestation.document.report import root_name
from nitro_attestation.errors import AttestationError


@dataclass(frozen=True)
class PresentedDocument:
    """The attestation document that went to KMS, and what is to be said of it.

    Attributes:
        fields: what it says; None where it cannot be read.
        verdict: how its verification went.
        is_verified: whether it went well, under whatever root.
        key_identifier: SHA-256 of the public key in it, in hexadecimal; empty where it has none.
    """

    fields: AttestationDocument | None
    verdict: str
    is_verified: bool = False
    key_identifier: str = ""

    @classmethod
    def judge(cls, document: bytes, at: datetime) -> PresentedDocument:
        """Verify it under its own root, and name that: another than AWS's shows that it is whole, not whose it is."""
        try:
            fields = parse_unverified_document(document)
        except AttestationError as error:
            return cls(None, f"NOT verified: {error}")
        root_sha256 = hashlib.sha256(fields.cabundle_der[0]).digest()
        try:
            verify_document(document, root_sha256=root_sha256, at=at)
            verdict, is_verified = f"signature and certificates verified here, up to {root_name(root_sha256)}", True
        except AttestationError as error:
            verdict, is_verified = f"NOT verified: {error}", False
        key = fields.public_key_der
        return cls(fields, verdict, is_verified, hashlib.sha256(key).hexdigest() if key else "")
