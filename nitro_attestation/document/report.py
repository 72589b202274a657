"""Format a verified attestation document as text and as JSON (pure)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from nitro_attestation.document.certificates import AWS_NITRO_ROOT_SHA256
from nitro_attestation.document.payload import AttestationDocument
from nitro_attestation.document.times import duration_text
from nitro_attestation.quoting import quoted

DEBUG_WARNING = (
    "THE ENCLAVE RUNS IN DEBUG MODE: PCR0 to PCR2 are zeros and do not identify an image, and the parent instance can"
    " read its console; do not trust it with a secret"
)
_NO_LINE_FEEDS = {ord("\n"): None}
"""kmstool-enclave ends its own line in the user data with one."""


@dataclass(frozen=True)
class VerifiedDocument:
    """A verified document, and what was checked.

    Attributes:
        fields: the document's fields.
        root_sha256: SHA-256 of the root certificate of its chain, 32 bytes.
        judged_at: the time at which its certificates had to be valid.
        is_nonce_checked: whether the nonce was compared.
        compared_pcrs: the PCRs that were compared.
        is_user_data_checked: whether the user data was compared.
        is_public_key_checked: whether the public key was compared.
        max_age: the maximum age that was checked, or None.
    """

    fields: AttestationDocument
    root_sha256: bytes
    judged_at: datetime
    is_nonce_checked: bool
    compared_pcrs: tuple[int, ...]
    is_user_data_checked: bool = False
    is_public_key_checked: bool = False
    max_age: timedelta | None = None


def document_text(verified: VerifiedDocument) -> str:
    """Return a verified document as text for people, without PCRs that are all zeros."""
    fields = verified.fields
    pcrs = {f"PCR{index}": value.hex() for index, value in sorted(fields.pcrs.items()) if any(value)}
    compared = ", ".join(f"PCR{index}" for index in verified.compared_pcrs)
    lines: Mapping[str, str] = {
        "verified": f"signature and certificates, up to {root_name(verified.root_sha256)}",
        "judged at": _iso(verified.judged_at),
        "compared": compared or "no measurements; use --expect FILE to compare them",
        "module": quoted(fields.module_id, 128),
        "made": _iso(fields.issued_at) + _age_note(verified),
        "mode": "DEBUG" if fields.is_debug else "production",
        **pcrs,
        "public key": _key_text(fields.public_key_der) + _note(is_checked=verified.is_public_key_checked),
        "user data": _bytes_text(fields.user_data) + _note(is_checked=verified.is_user_data_checked),
        "nonce": _bytes_text(fields.nonce) + _nonce_note(verified),
    }
    return "\n".join(f"{name:<11} {value}" for name, value in lines.items())


def document_json(verified: VerifiedDocument) -> str:
    """Return a verified document as a JSON object; bytes are in hexadecimal."""
    fields = verified.fields
    key = fields.public_key_der
    return json.dumps(
        {
            "Verified": True,
            "RootSha256": verified.root_sha256.hex(),
            "JudgedAt": _iso(verified.judged_at),
            "NonceChecked": verified.is_nonce_checked,
            "UserDataChecked": verified.is_user_data_checked,
            "PublicKeyChecked": verified.is_public_key_checked,
            "MaxAgeS": None if verified.max_age is None else verified.max_age.total_seconds(),
            "ComparedPcrs": [f"PCR{index}" for index in verified.compared_pcrs],
            "ModuleId": fields.module_id,
            "MadeAt": _iso(fields.issued_at),
            "DebugMode": fields.is_debug,
            "Measurements": {f"PCR{index}": value.hex() for index, value in sorted(fields.pcrs.items())},
            "PublicKey": _hexadecimal(key),
            "PublicKeySha256": None if key is None else hashlib.sha256(key).hexdigest(),
            "UserData": _hexadecimal(fields.user_data),
            "Nonce": _hexadecimal(fields.nonce),
        },
        indent=2,
    )


def root_name(root_sha256: bytes) -> str:
    """Return a name, for people, of the root certificate with this SHA-256."""
    if root_sha256 == AWS_NITRO_ROOT_SHA256:
        return "AWS's root for Nitro Enclaves"
    return f"the root with SHA-256 {root_sha256.hex()}, which is NOT AWS's"


def _hexadecimal(data: bytes | None) -> str | None:
    return None if data is None else data.hex()


def _key_text(public_key_der: bytes | None) -> str:
    if not public_key_der:
        return "none" if public_key_der is None else "empty"
    return f"SHA-256 {hashlib.sha256(public_key_der).hexdigest()}"


def _bytes_text(data: bytes | None) -> str:
    if data is None:
        return "none"
    return " ".join(_bytes_parts(data)) or "empty"


def _bytes_parts(data: bytes) -> Iterator[str]:
    if data:
        yield data.hex()
    text = data.decode("utf-8", "replace")
    if text.strip("\n") and text.translate(_NO_LINE_FEEDS).isprintable() and "\N{REPLACEMENT CHARACTER}" not in text:
        yield quoted(text, len(text))


def _note(*, is_checked: bool) -> str:
    return " (the one expected)" if is_checked else ""


def _age_note(verified: VerifiedDocument) -> str:
    return "" if verified.max_age is None else f" (at most {duration_text(verified.max_age)} before)"


def _nonce_note(verified: VerifiedDocument) -> str:
    if verified.fields.nonce is None:
        return ""
    return " (the one expected)" if verified.is_nonce_checked else " (not compared; use --nonce HEX)"


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
