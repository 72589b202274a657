"""A good document, and every way in which its form and its signature can be wrong; test_payload has its fields."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nitro_attestation.document.certificates import AWS_NITRO_ROOT_SHA256
from nitro_attestation.document.cose import MAX_DOCUMENT_BYTES, parse_unverified_document
from nitro_attestation.document.payload import AttestationDocument
from nitro_attestation.errors import AttestationError, NitroAttestationError
from nitro_attestation.verification import verify_document
from tests.support.attestation.good_document import (
    AUTHORITY,
    GOOD,
    LEAF,
    MODULE_ID,
    NONCE,
    NOW,
    PCR0,
    ROOT,
    attest,
    good_fields,
    refusal,
    resealed,
    signed,
)


def test_good_document_verifies_and_gives_every_field() -> None:
    document = verify_document(GOOD, root=ROOT, at=NOW, nonce=NONCE)
    assert document.module_id == MODULE_ID
    assert document.digest == "SHA384"
    assert document.timestamp_ms == 1_767_323_045_678
    assert document.issued_at == NOW
    assert document.pcrs[0] == PCR0
    assert list(document.pcrs) == list(range(16))
    assert document.certificate_der == LEAF.certificate_der
    assert document.cabundle_der == AUTHORITY.cabundle_der
    assert (document.public_key_der, document.user_data, document.nonce) == (b"a key", b"some data", NONCE)
    assert not document.is_debug


def test_parsed_document_equals_the_verified_one() -> None:
    assert parse_unverified_document(GOOD) == verify_document(GOOD, root=ROOT)


def test_payload_map_of_definite_length_is_taken() -> None:
    assert cbor2.loads(GOOD)[2][:1] == b"\xbf"
    definite = signed(good_fields())
    assert cbor2.loads(definite)[2][:1] == b"\xa9"
    assert verify_document(definite, root=ROOT) == verify_document(GOOD, root=ROOT)


def test_document_with_tag_18_is_taken() -> None:
    assert verify_document(b"\xd2" + GOOD, root=ROOT).module_id == MODULE_ID


@pytest.mark.parametrize("name", ["public_key", "user_data", "nonce"])
def test_optional_field_may_be_null_or_absent(name: str) -> None:
    null, absent = good_fields(), good_fields()
    null[name] = None
    del absent[name]
    attribute = "public_key_der" if name == "public_key" else name
    for fields in (null, absent):
        assert getattr(verify_document(signed(fields), root=ROOT), attribute) is None


def test_debug_document_says_so() -> None:
    assert verify_document(attest(debug=True), root=ROOT, allow_debug=True).is_debug


def test_document_without_the_image_measurements_counts_as_debug() -> None:
    assert parse_unverified_document(signed(good_fields() | {"pcrs": {4: PCR0}})).is_debug


def test_document_with_one_image_measurement_is_not_debug() -> None:
    assert not parse_unverified_document(signed(good_fields() | {"pcrs": {0: bytes(48), 2: PCR0}})).is_debug


def test_measurements_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        parse_unverified_document(GOOD).pcrs[0] = PCR0  # type: ignore[index]


@pytest.mark.parametrize(
    "header",
    [
        {1: -7},  # ES256
        {1: -36},  # ES512
        {1: "ES384"},
        {1: -35.0},
        {True: -35},
        {1: -35, 2: [4]},  # crit
        {4: b"kid"},
        {},
        [1, -35],
        None,
    ],
)
def test_protected_header_must_say_es384_and_nothing_else(header: object) -> None:
    assert refusal(resealed(0, cbor2.dumps(header))).field == "protected header"


@pytest.mark.parametrize("header", [b"", b"\xa1", b"\xa1\x01\x38\x22\0", {1: -35}, None, "text"])
def test_protected_header_must_be_encoded_once(header: object) -> None:
    assert refusal(resealed(0, header)).field == "protected header"


@pytest.mark.parametrize("header", [{4: b"kid"}, {1: -35}, [], b"", None, b"\xa0"])
def test_unprotected_header_must_be_an_empty_map(header: object) -> None:
    assert refusal(resealed(1, header)).field == "unprotected header"


@pytest.mark.parametrize("payload", [None, "text", {}, 0])
def test_payload_must_be_a_byte_string(payload: object) -> None:
    assert refusal(resealed(2, payload)).field == "payload"


@pytest.mark.parametrize("signature", [None, "text", bytes(96), b"\xff" * 96])
def test_signature_of_another_form_is_refused(signature: object) -> None:
    assert refusal(resealed(3, signature)).field == "signature"


@pytest.mark.parametrize("size", [0, 64, 95, 97, 132])
def test_signature_of_another_size_is_refused(size: int) -> None:
    error = refusal(resealed(3, bytes(size)))
    assert (error.field, error.reason) == ("signature", f"expected 96 bytes (ES384), got {size}")


@pytest.mark.parametrize("position", range(96))
def test_signature_with_any_byte_changed_is_refused(position: int) -> None:
    signature = bytearray(cbor2.loads(GOOD)[3])
    signature[position] ^= 1
    assert refusal(resealed(3, bytes(signature))).field == "signature"


def test_signature_of_another_key_is_refused() -> None:
    other = AUTHORITY.leaf_for("i-0-enc1", NOW)
    assert refusal(other.sign(cbor2.dumps(good_fields()))).field == "signature"


def test_signature_with_its_halves_swapped_is_refused() -> None:
    signature = cbor2.loads(GOOD)[3]
    assert refusal(resealed(3, signature[48:] + signature[:48])).field == "signature"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("module_id", "i-0123456789abcdef0-enc0123456789abcdf"),
        ("timestamp", 1_767_323_045_679),
        ("pcrs", {0: bytes(48)}),
        ("public_key", b"another key"),
        ("user_data", b"other data"),
        ("nonce", bytes(32)),
        ("nonce", None),
    ],
)
def test_field_changed_after_signing_breaks_the_signature(name: str, value: object) -> None:
    assert refusal(resealed(2, cbor2.dumps(good_fields() | {name: value}))).field == "signature"


@pytest.mark.parametrize(
    "document",
    [
        GOOD + b"\0",
        b"\xd2\xd2" + GOOD,
        b"\xd1" + GOOD,  # COSE_Mac0
        b"\xd8\x62" + GOOD,  # COSE_Sign
        cbor2.dumps(list(cbor2.loads(GOOD))[:3]),
        cbor2.dumps([*cbor2.loads(GOOD), b""]),
        cbor2.dumps({0: GOOD}),
        cbor2.dumps(GOOD),
    ],
)
def test_document_that_is_not_a_cose_sign1_is_refused(document: bytes) -> None:
    assert refusal(document).field == "COSE_Sign1"


@pytest.mark.parametrize("size", [0, MAX_DOCUMENT_BYTES + 1])
def test_document_out_of_its_limits_is_refused(size: int) -> None:
    assert refusal(bytes(size)).reason == f"expected 1 to 262144 bytes, got {size}"


def test_document_cut_at_any_length_is_refused() -> None:
    for length in range(len(GOOD)):
        assert refusal(GOOD[:length]).field == "COSE_Sign1"


def test_document_with_any_byte_changed_is_refused() -> None:
    for position in range(0, len(GOOD), 3):
        changed = bytearray(GOOD)
        changed[position] ^= 1 << position % 8
        refusal(bytes(changed))


@pytest.mark.parametrize("nonce", [bytes(32), NONCE[:-1], b""])
def test_another_nonce_is_refused(nonce: bytes) -> None:
    error = refusal(GOOD, nonce=nonce)
    assert (error.field, error.reason) == ("nonce", "not the expected nonce")


def test_missing_nonce_is_refused_if_one_is_expected() -> None:
    assert refusal(attest(), nonce=b"").reason == "the document has no nonce"


@pytest.mark.parametrize("at", [LEAF.not_before - timedelta(seconds=1), LEAF.not_after + timedelta(seconds=1)])
def test_document_outside_the_leaf_s_time_is_refused(at: datetime) -> None:
    error = refusal(GOOD, at=at, leeway=timedelta(0))
    assert error.field == "certificate"
    assert "expected a certificate valid at" in error.reason


@pytest.mark.parametrize("at", [LEAF.not_before, LEAF.not_after])
def test_document_at_the_ends_of_the_leaf_s_time_verifies(at: datetime) -> None:
    verify_document(GOOD, root=ROOT, at=at)


def test_document_is_judged_at_its_own_timestamp_by_default() -> None:
    late = int((LEAF.not_after + timedelta(seconds=1)).timestamp() * 1_000)
    assert refusal(signed(good_fields() | {"timestamp": late})).field == "certificate"


@pytest.mark.parametrize("at", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_document_at_the_ends_of_all_time_is_refused(at: datetime) -> None:
    assert refusal(GOOD, at=at).field == "cabundle[0]"


def test_simulated_document_is_not_accepted_as_one_from_aws() -> None:
    with pytest.raises(AttestationError, match=AWS_NITRO_ROOT_SHA256.hex()):
        verify_document(GOOD)


@pytest.mark.parametrize(
    "options",
    [{"root": b""}, {"root": bytes(31)}, {"at": datetime(2026, 1, 2)}],  # noqa: DTZ001 - the fault
)
def test_programmers_mistake_is_a_value_error(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^(root: not a certificate|at: the time has no time zone)"):
        verify_document(GOOD, **options)


def test_attestation_error_is_an_error_of_this_package() -> None:
    assert issubclass(AttestationError, NitroAttestationError)


FIELD_VALUES: st.SearchStrategy[object] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.sampled_from([b"", bytes(32), bytes(48), LEAF.certificate_der, *AUTHORITY.cabundle_der])
    | st.binary(max_size=80)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.integers(-1, 33) | st.text(max_size=2), inner, max_size=4)
    ),
    max_leaves=6,
)


def _raises_only_attestation_errors(function: Callable[[], AttestationDocument]) -> None:
    with contextlib.suppress(AttestationError):
        function()


@given(st.binary(max_size=200))
def test_any_bytes_raise_nothing_but_attestation_errors(data: bytes) -> None:
    _raises_only_attestation_errors(lambda: verify_document(data, root=ROOT, allow_debug=True))


@given(st.lists(FIELD_VALUES, min_size=3, max_size=5))
def test_any_cose_sign1_raises_nothing_but_attestation_errors(parts: list[object]) -> None:
    _raises_only_attestation_errors(lambda: verify_document(cbor2.dumps(parts), root=ROOT, allow_debug=True))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(good_fields())), FIELD_VALUES, max_size=4))
def test_any_signed_field_raises_nothing_but_attestation_errors(changes: dict[str, object]) -> None:
    document = signed(good_fields() | changes)
    _raises_only_attestation_errors(lambda: verify_document(document, root=ROOT, allow_debug=True))


@settings(deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 8), st.binary(max_size=8))
def test_any_splice_of_a_good_document_is_refused_or_changes_nothing(start: int, removed: int, inserted: bytes) -> None:
    spliced = GOOD[:start] + inserted + GOOD[start + removed :]
    try:
        document = verify_document(spliced, root=ROOT)
    except AttestationError:
        return
    assert document == parse_unverified_document(GOOD)
