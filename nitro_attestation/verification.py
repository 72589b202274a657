"""Verify an attestation document, step by step, and compare it with what a relying party expects (pure).

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
"""Leaf certificates are valid from the moment they are issued, and a new one comes every 2 h 45 min: a clock that is
slow by seconds meets one that is not valid yet. KMS allows requests as much."""


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
    """Verify that an enclave had this document signed under the root, compare it, and return its fields.

    What is None is not compared. Nothing but a nonce that you chose, or a public key that you know, says who sent the
    document; nothing but PCRs says what runs in the enclave. Revocation is not checked: AWS publishes no list.

    Args:
        document: COSE_Sign1, with tag 18 or without, at most MAX_DOCUMENT_BYTES bytes; see decode_document_file for
            text.
        at: the present time, with its zone. None is for documents from an archive: their certificates are judged at the
            document's own timestamp, which says nothing of how old it is.
        leeway: how much later than ``at`` the document may have been made and a certificate become valid, for a clock
            that is slow. It does not count with ``at=None``, nor for what has expired.
        max_age: how long before ``at`` it may have been made.
        nonce: what it must hold; no bytes are a value. Compared as a whole, like the two below.
        user_data: what it must hold. kmstool-enclave puts a line in front of its callers' bytes, such as
            ``deliver=exec``, which belongs to the value.
        public_key: what it must hold, as the enclave gave it: most give DER.
        pcrs: measurements that it must show, at least one, by their index; see parse_measurements.
        allow_debug: whether to accept an enclave in debug mode, whose console shows its secrets.
        root: the root certificate in PEM or DER, or its SHA-256. AWS's by default.

    Raises:
        AttestationError: a step failed; it names the step and the field.
        TypeError: an argument has the wrong type.
        ValueError: an argument has no possible value, such as a time without a zone.
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
            hint="have the enclave make a new one",
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
    "user_data": "another request had the document made, or something between here and the enclave changed the request",
    "public_key": "another program made the document, or something between here and the enclave changed the request",
}


def _verify_equal(field: str, got: bytes | None, expected: bytes | None) -> None:
    if expected is None or got == expected:
        return
    name = field.replace("_", " ")
    hint = _HINTS[field]
    if field == "user_data" and got is not None and got.endswith(expected):
        hint = f"it ends in what was expected: its first {len(got) - len(expected)} bytes belong to the value as well"
    raise AttestationError(
        field, f"expected the {name} that was asked for, got {'none' if got is None else 'another'}", hint=hint
    )


def _verify_mode(fields: AttestationDocument, *, allow_debug: bool) -> None:
    if fields.is_debug and not allow_debug:
        raise AttestationError(
            "pcrs",
            "expected an enclave that does not run in debug mode, got zeros in PCR0 to PCR2",
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
        raise ValueError("at: expected a time with its time zone, got a naive one")
    if leeway < timedelta(0):
        raise ValueError(f"leeway: expected 0 or more, got {leeway}")
    if max_age is not None and max_age < timedelta(0):
        raise ValueError(f"max_age: expected 0 or more, got {max_age}")
    if max_age is not None and at is None:
        raise ValueError("max_age: cannot be used without at, which it counts from")
    if pcrs is not None and not pcrs:
        raise ValueError("pcrs: expected at least one PCR, or None to compare none, got an empty mapping")
    for index, value in (pcrs or {}).items():
        if type(index) is not int:  # true would pass for 1
            raise TypeError(f"pcrs: index: expected a number, got {type(index).__name__}")
        _expect(f"pcrs[{index}]", value, bytes, "bytes")
        if not 0 <= index < PCR_COUNT or len(value) not in PCR_SIZES_BYTES:
            raise ValueError(f"pcrs[{index}]: expected 32, 48 or 64 bytes under 0 to {PCR_COUNT - 1}, got another")


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
