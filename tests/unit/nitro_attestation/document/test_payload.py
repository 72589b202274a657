"""The fields of a document: the limits of each, and how one that breaks them is named."""

from __future__ import annotations

import cbor2
import pytest

from nitro_attestation.verification import verify_document
from tests.support.attestation.good_document import AUTHORITY, LEAF, PCR0, ROOT, good_fields, refusal, signed


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("module_id", "", "module_id"),
        ("module_id", b"i-1", "module_id"),
        ("digest", "SHA256", "digest"),
        ("digest", "sha384", "digest"),
        ("digest", b"SHA384", "digest"),
        ("timestamp", 0, "timestamp"),
        ("timestamp", -1, "timestamp"),
        ("timestamp", True, "timestamp"),
        ("timestamp", 1.5e12, "timestamp"),
        ("timestamp", "1767323045678", "timestamp"),
        ("timestamp", 253_402_300_800_000, "timestamp"),
        ("timestamp", 2**64 - 1, "timestamp"),
        ("pcrs", {}, "pcrs"),
        ("pcrs", [PCR0], "pcrs"),
        ("pcrs", {32: PCR0}, "pcrs"),
        ("pcrs", {-1: PCR0}, "pcrs"),
        ("pcrs", dict.fromkeys(range(33), PCR0), "pcrs"),
        ("pcrs", {"0": PCR0}, "pcrs: index"),
        ("pcrs", {True: PCR0}, "pcrs: index"),
        ("pcrs", {3: b""}, "pcrs[3]"),
        ("pcrs", {3: bytes(31)}, "pcrs[3]"),
        ("pcrs", {3: bytes(49)}, "pcrs[3]"),
        ("pcrs", {3: bytes(65)}, "pcrs[3]"),
        ("pcrs", {3: "a" * 48}, "pcrs[3]"),
        ("pcrs", {3: None}, "pcrs[3]"),
        ("certificate", b"", "certificate"),
        ("certificate", bytes(1025), "certificate"),
        ("certificate", bytes(1024), "certificate"),
        ("certificate", "text", "certificate"),
        ("certificate", LEAF.certificate_der + b"\0", "certificate"),
        ("certificate", LEAF.certificate_der[:-1], "certificate"),
        ("cabundle", [], "cabundle"),
        ("cabundle", AUTHORITY.cabundle_der[0], "cabundle"),
        ("cabundle", [b""], "cabundle[0]"),
        ("cabundle", [AUTHORITY.cabundle_der[0], bytes(1025)], "cabundle[1]"),
        ("cabundle", [AUTHORITY.cabundle_der[0], "text"], "cabundle[1]"),
        ("cabundle", [AUTHORITY.cabundle_der[0], None], "cabundle[1]"),
        ("cabundle", [AUTHORITY.cabundle_der[0], b"no certificate"], "cabundle[1]"),
        ("public_key", bytes(1025), "public_key"),
        ("public_key", "text", "public_key"),
        ("user_data", bytes(1025), "user_data"),
        ("user_data", "text", "user_data"),
        ("user_data", 0, "user_data"),
        ("nonce", bytes(1025), "nonce"),
        ("nonce", "text", "nonce"),
        ("nonce", False, "nonce"),
        ("extra", b"", "payload"),
        (1, b"", "payload key"),
        ("nitrotpm_pcrs", {0: PCR0}, "nitrotpm_pcrs"),
    ],
)
def test_field_out_of_its_limits_is_refused_by_name(name: object, value: object, field: str) -> None:
    assert refusal(signed(good_fields() | {name: value})).field == field


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("pcrs", dict.fromkeys(range(33), PCR0), "expected 1 to 32 entries, got 33"),
        ("certificate", bytes(1025), "expected 1 to 1024 bytes, got 1025"),
        ("cabundle", [bytes(1025)], "expected 1 to 1024 bytes, got 1025"),
        ("public_key", bytes(1025), "expected 0 to 1024 bytes, got 1025"),
        ("user_data", bytes(1025), "expected 0 to 1024 bytes, got 1025"),
        ("nonce", bytes(1025), "expected 0 to 1024 bytes, got 1025"),
    ],
)
def test_size_over_its_limit_is_reported_with_the_limit(name: str, value: object, reason: str) -> None:
    assert refusal(signed(good_fields() | {name: value})).reason == reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("module_id", "i"),
        ("pcrs", {0: bytes(32), 1: bytes(48), 31: bytes(64)}),
        ("pcrs", dict.fromkeys(range(32), PCR0)),
        ("public_key", b""),
        ("public_key", b"\0"),
        ("public_key", bytes(1024)),
        ("user_data", b""),
        ("user_data", bytes(746)),
        ("user_data", bytes(1024)),
        ("nonce", b""),
        ("nonce", bytes(1024)),
    ],
)
def test_field_at_its_limit_is_taken(name: str, value: object) -> None:
    document = verify_document(signed(good_fields() | {name: value}), root=ROOT, allow_debug=True)
    assert getattr(document, "public_key_der" if name == "public_key" else name) == value


@pytest.mark.parametrize("name", ["module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"])
def test_required_field_missing_or_null_is_refused_by_name(name: str) -> None:
    fields = good_fields()
    del fields[name]
    error = refusal(signed(fields))
    assert (error.field, error.reason) == (name, "the document has no such field")
    assert refusal(signed(good_fields() | {name: None})).field == name


def test_nitrotpm_document_is_recognized() -> None:
    fields = good_fields()
    fields["nitrotpm_pcrs"] = fields.pop("pcrs")
    error = refusal(signed(fields))
    assert error.reason == "the document comes from the NitroTPM of an EC2 instance, not from an enclave"
    assert error.hint is not None


def test_unknown_field_is_quoted_escaped_and_truncated() -> None:
    reason = refusal(signed(good_fields() | {"\x1b[31m" + "x" * 99: 1})).reason
    assert reason.endswith('unknown field "\\x1b[31m' + "x" * 59 + '..."')


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "expected 1 to 16384 bytes, got 0"),
        (bytes(16_385), "expected 1 to 16384 bytes, got 16385"),
        (b"\xa1", "truncated"),
        (cbor2.dumps([]), "expected a map, got an array"),
        (cbor2.dumps(None), "expected a map, got null"),
        (cbor2.dumps(cbor2.CBORTag(18, {})), "with a tag"),
        (cbor2.dumps(good_fields()) + b"\0", "followed by 1 extra bytes"),
        (b"\xa2\x65nonce\x41\x01\x65nonce\x41\x02", "a duplicate key"),
    ],
)
def test_payload_that_is_not_a_map_is_refused(payload: bytes, reason: str) -> None:
    error = refusal(LEAF.sign(payload))
    assert error.field == "payload"
    assert reason in error.reason
