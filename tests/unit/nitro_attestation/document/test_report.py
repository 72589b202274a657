from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

from nitro_attestation.document.certificates import AWS_NITRO_ROOT_SHA256
from nitro_attestation.document.report import VerifiedDocument, document_json, document_text
from tests.support.attestation.documents import PCRS, make_fields

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)


def _verified(*, root: bytes = AWS_NITRO_ROOT_SHA256, checked: bool = False, **options: object) -> VerifiedDocument:
    return VerifiedDocument(make_fields(**options), root, NOON, is_nonce_checked=checked, compared_pcrs=(0, 8))


def test_text_names_what_was_and_was_not_compared() -> None:
    text = document_text(_verified(nonce=b"\x01\x02"))
    assert "PCR0, PCR8" in text
    assert "0102 (not compared" in text
    assert "AWS's root" in text
    assert "0102 (the one expected)" in document_text(_verified(nonce=b"\x01\x02", checked=True))
    assert "NOT AWS's" in document_text(_verified(root=bytes(32)))


def test_text_leaves_out_pcrs_of_zeros() -> None:
    lines = document_text(_verified()).splitlines()
    assert [line.split()[0] for line in lines if line.startswith("PCR")] == [f"PCR{index}" for index in PCRS]
    assert any(line.split() == ["mode", "DEBUG"] for line in document_text(_verified(debug=True)).splitlines())


def test_text_shows_readable_user_data_and_cannot_steer_a_terminal() -> None:
    assert '68656c6c6f "hello"' in document_text(_verified(user_data=b"hello"))
    hostile = document_text(_verified(user_data=b"\x1b[2J"))
    assert "1b5b324a" in hostile
    assert "\x1b" not in hostile
    assert "user data   empty" in document_text(_verified(user_data=b""))


def test_json_holds_all_fields() -> None:
    shown = json.loads(document_json(_verified(user_data=b"\x00", nonce=b"\xff", public_key=b"key", checked=True)))
    assert (shown["UserData"], shown["Nonce"], shown["NonceChecked"]) == ("00", "ff", True)
    assert shown["PublicKeySha256"] == hashlib.sha256(b"key").hexdigest()
    assert shown["Measurements"]["PCR0"] == PCRS[0].hex()
    assert len(shown["Measurements"]) == 16
    assert shown["ComparedPcrs"] == ["PCR0", "PCR8"]
    assert (shown["DebugMode"], shown["JudgedAt"]) == (False, "2025-06-01T12:00:00.000+00:00")
