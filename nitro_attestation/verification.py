"""Verify an attestation document step by step, and compare it with what the relying party expects (pure).

Source of steps 1 to 4: "Nitro Enclaves Attestation Process" of aws-nitro-enclaves-nsm-api, section 3.2.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec

from nitro_attestation.document.certificates import AWS_NITRO_ROOT_SHA256, root_fingerprint
from nitro_attestation.document.chain import verify_chain
from nitro_attestation.document.cose import decode_sign1, verify_signature
from nitro_attestation.document.payload import (
    MAX_ATTESTED_BYTES,
    PCR_COUNT,
    PCR_SIZES_BYTES,
    AttestationDocument,
    parse_unverified_payload,
)
from nitro_attestation.document.times import duration_text, moment_text, slow_clock_hint
from nitro_attestation.errors import AttestationError, VerificationStep
from nitro_attestation.measurements import verify_measurements

DEFAULT_LEEWAY = timedelta(minutes=5)
"""A leaf certificate is valid from the moment it is issued, and a new one is issued every 2 h 45 min. For a clock that
is a few seconds slow, it is not valid yet. KMS allows the same difference between clocks."""


def verify_document(
    document: bytes,
    *,
    at: datetime | None = None,
    leeway: timedelta = DEFAULT_LEEWAY,
    max_age: timedelta | None = None,
    nonce: bytes | None = None,
    user_data: bytes | None = None,
    public_key: bytes | None = None,
    pcrs: Mapping[int, bytes] | None = None,
    allow_debug: bool = False,
    root: bytes = AWS_NITRO_ROOT_SHA256,
) -> AttestationDocument:
    """Verify a document's signature and certificates, compare its fields with what you expect, and return them.

    A field whose argument is None is not compared. Only a nonce that you chose, or a public key that you know, shows
    that the document is not a replay; only PCRs show what runs in the enclave. Does not check revocation: AWS publishes
    no revocation list.

    Args:
        document: COSE_Sign1, with or without tag 18, at most MAX_DOCUMENT_BYTES bytes; see decode_document_file for
            text.
        at: the current time, with a time zone. None is for archived documents: their certificates are checked at the
            document's own timestamp, which proves nothing about its age.
        leeway: how long after ``at`` the document may have been made, or a certificate may become valid, to tolerate a
            slow clock. Not used with ``at=None``, nor for expiry.
        max_age: how long before ``at`` the document may have been made.
        nonce: the expected nonce; empty bytes are a value. Compared in full, as are the next two.
        user_data: the expected user data. kmstool-enclave puts a line such as ``deliver=exec`` before its callers'
            bytes; that line is part of the value.
        public_key: the expected public key, exactly as the enclave passed it to the NSM, usually in DER.
        pcrs: the expected measurements by PCR index, at least one; see parse_measurements.
        allow_debug: whether to accept an enclave in debug mode, whose console can be read from the parent instance.
        root: the root certificate in PEM or DER, or its SHA-256. Default: AWS's root.

    Raises:
        AttestationError: a step failed; the error names the step and the field.
        TypeError: an argument has the wrong type.
        ValueError: an argument has an invalid value, such as a time without a time zone.
    """
    _check_types(document, at=at, leeway=leeway, max_age=max_age, pcrs=pcrs, root=root)
    _check_values(at=at, leeway=leeway, max_age=max_age, pcrs=pcrs)
    _check_attested(nonce=nonce, user_data=user_data, public_key=public_key)
    root_sha256 = _root_sha256(root)
    with _step(VerificationStep.DECODING):  # 1
        sign1 = decode_sign1(document)
    with _step(VerificationStep.CONTENT):  # 2
        fields = parse_unverified_payload(sign1.payload)
    with _step(VerificationStep.CERTIFICATES):  # 3
        key = _verify_certificates(fields, root_sha256, at, leeway)
    with _step(VerificationStep.SIGNATURE):  # 4
        verify_signature(sign1, key)
    with _step(VerificationStep.AGE):  # 5
        if at is not None:
            _verify_age(fields.issued_at, at, leeway, max_age)
    with _step(VerificationStep.NONCE):  # 6
        _verify_equal("nonce", fields.nonce, nonce)
    with _step(VerificationStep.MODE):  # 7
        _verify_mode(fields, allow_debug=allow_debug)
    with _step(VerificationStep.MEASUREMENTS):  # 8
        verify_measurements(fields, pcrs or {})
    with _step(VerificationStep.USER_DATA):  # 9
        _verify_equal("user_data", fields.user_data, user_data)
    with _step(VerificationStep.PUBLIC_KEY):  # 10
        _verify_equal("public_key", fields.public_key_der, public_key)
    return fields


@contextlib.contextmanager
def _step(step: VerificationStep) -> Iterator[None]:
    try:
        yield
    except AttestationError as error:
        error.step = step
        raise


def _verify_certificates(
    fields: AttestationDocument, root_sha256: bytes, at: datetime | None, leeway: timedelta
) -> ec.EllipticCurvePublicKey:
    if at is None:
        at, leeway = fields.issued_at, timedelta(0)
    return verify_chain(fields.certificate_der, fields.cabundle_der, root_sha256=root_sha256, at=at, leeway=leeway)


def _verify_age(made_at: datetime, at: datetime, leeway: timedelta, max_age: timedelta | None) -> None:
    if max_age is not None and at - made_at > max_age:
        raise AttestationError(
            "timestamp",
            f"expected a document made at most {duration_text(max_age)} before {moment_text(at)}, got one made"
            f" {duration_text(at - made_at)} before",
            hint="ask the enclave for a new document",
        )
    if made_at.replace(microsecond=0) - at > leeway:  # so that a time in whole seconds, as reports show it, can be at
        slow_by = made_at - at
        raise AttestationError(
            "timestamp",
            f"expected a document made before {moment_text(at)}, got one made {duration_text(slow_by)} later",
            hint=slow_clock_hint(slow_by),
            slow_by=slow_by,
        )


_HINTS = {
    "nonce": "the document was made for another request, or is a replay",
    "user_data": "the document was made for another request, or the request was changed on its way to the enclave",
    "public_key": "another program requested the document, or the request was changed on its way to the enclave",
}


def _verify_equal(field: str, got: bytes | None, expected: bytes | None) -> None:
    if expected is None or got == expected:
        return
    name = field.replace("_", " ")
    hint = _HINTS[field]
    if field == "user_data" and got is not None and got.endswith(expected):
        hint = f"it ends with the expected bytes: its first {len(got) - len(expected)} bytes are part of the value too"
    reason = f"the document has no {name}" if got is None else f"not the expected {name}"
    raise AttestationError(field, reason, hint=hint)


def _verify_mode(fields: AttestationDocument, *, allow_debug: bool) -> None:
    if fields.is_debug and not allow_debug:
        raise AttestationError(
            "pcrs",
            "the enclave runs in debug mode: PCR0 to PCR2 are zeros",
            hint="run the enclave without --debug-mode: in debug mode, the parent instance can read its console",
        )


def _check_types(document: object, *, at: object, leeway: object, max_age: object, pcrs: object, root: object) -> None:
    _expect("document", document, bytes, "bytes; decode_document_file reads text")
    _expect("at", at, (datetime, type(None)), "a datetime or None")
    _expect("leeway", leeway, timedelta, "a timedelta")
    _expect("max_age", max_age, (timedelta, type(None)), "a timedelta or None")
    _expect("pcrs", pcrs, (Mapping, type(None)), "a mapping or None")
    _expect("root", root, bytes, "a certificate in PEM or DER, or its SHA-256, as bytes")


def _check_values(
    *, at: datetime | None, leeway: timedelta, max_age: timedelta | None, pcrs: Mapping[int, bytes] | None
) -> None:
    if at is not None and at.utcoffset() is None:
        raise ValueError("at: the time has no time zone")
    if leeway < timedelta(0):
        raise ValueError(f"leeway: expected 0 or more, got {leeway}")
    if max_age is not None and max_age < timedelta(0):
        raise ValueError(f"max_age: expected 0 or more, got {max_age}")
    if max_age is not None and at is None:
        raise ValueError("max_age: needs at, the time from which it counts")
    if pcrs is not None and not pcrs:
        raise ValueError("pcrs: the mapping is empty; pass None to compare no PCRs")
    for index, value in (pcrs or {}).items():
        if type(index) is not int:  # True would pass for 1
            raise TypeError(f"pcrs: index: expected a number, got {type(index).__name__}")
        _expect(f"pcrs[{index}]", value, bytes, "bytes")
        if not 0 <= index < PCR_COUNT or len(value) not in PCR_SIZES_BYTES:
            raise ValueError(
                f"pcrs[{index}]: expected an index below {PCR_COUNT} and 32, 48 or 64 bytes, got {len(value)}"
            )


def _check_attested(**expected: object) -> None:
    for name, value in expected.items():
        _expect(name, value, (bytes, type(None)), "bytes or None")
        if isinstance(value, bytes) and len(value) > MAX_ATTESTED_BYTES:
            raise ValueError(f"{name}: expected at most {MAX_ATTESTED_BYTES} bytes, got {len(value)}")


def _root_sha256(root: bytes) -> bytes:
    try:
        return root_fingerprint(root)
    except ValueError as error:
        raise ValueError(f"root: {error}") from None


def _expect(name: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    if not isinstance(value, kinds):
        raise TypeError(f"{name}: expected {expected}, got {type(value).__name__}")
