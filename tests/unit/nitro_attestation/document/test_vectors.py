"""Attestation documents of real enclaves, where the folder that holds them exists; elsewhere there are no cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nitro_attestation.document.cose import parse_unverified_document
from nitro_attestation.errors import AttestationError
from nitro_attestation.verification import verify_document

VECTORS = Path(__file__).parents[4].parent / "shared" / "vectors"


@dataclass(frozen=True)
class Expected:
    issued_at: datetime
    is_debug: bool
    pcrs_that_are_set: frozenset[int]


GOOD: Mapping[str, Expected] = {
    "veracruz_aws_nitro_document.cbor": Expected(
        datetime(2022, 11, 9, 22, 52, 0, 696_000, UTC), is_debug=False, pcrs_that_are_set=frozenset({0, 1, 2, 4})
    ),
    "evervault_debug_document.cbor": Expected(
        datetime(2022, 10, 12, 13, 50, 6, 81_000, UTC), is_debug=True, pcrs_that_are_set=frozenset({3, 4})
    ),
}
BAD_SIGNATURE = "veracruz_aws_nitro_document_bad_sig.cbor"


@pytest.fixture
def good_documents() -> list[tuple[bytes, Expected]]:
    return [(path.read_bytes(), expected) for name, expected in GOOD.items() if (path := VECTORS / name).exists()]


@pytest.fixture
def badly_signed_documents() -> list[bytes]:
    path = VECTORS / BAD_SIGNATURE
    return [path.read_bytes()] if path.exists() else []


def test_real_document_verifies_at_its_own_timestamp(good_documents: list[tuple[bytes, Expected]]) -> None:
    for encoded, expected in good_documents:
        document = verify_document(encoded, allow_debug=True)
        assert document.issued_at == expected.issued_at
        assert document.is_debug == expected.is_debug
        assert {index for index, value in document.pcrs.items() if any(value)} == expected.pcrs_that_are_set


def test_real_document_verifies_with_its_tag(good_documents: list[tuple[bytes, Expected]]) -> None:
    for encoded, _ in good_documents:
        assert verify_document(b"\xd2" + encoded, allow_debug=True) == verify_document(encoded, allow_debug=True)


def test_real_document_fails_a_day_later(good_documents: list[tuple[bytes, Expected]]) -> None:
    for encoded, expected in good_documents:
        with pytest.raises(AttestationError, match="expected a certificate valid at"):
            verify_document(encoded, allow_debug=True, at=expected.issued_at + timedelta(days=1))


def test_real_document_fails_under_another_root(good_documents: list[tuple[bytes, Expected]]) -> None:
    for encoded, _ in good_documents:
        with pytest.raises(AttestationError, match=r"cabundle\[0\]: expected the root certificate"):
            verify_document(encoded, root=bytes(32))


def test_real_document_cut_at_any_length_is_refused(good_documents: list[tuple[bytes, Expected]]) -> None:
    for encoded, _ in good_documents:
        for length in range(len(encoded)):
            with pytest.raises(AttestationError, match="COSE_Sign1"):
                parse_unverified_document(encoded[:length])


def test_real_document_with_a_broken_signature_is_refused(badly_signed_documents: list[bytes]) -> None:
    for encoded in badly_signed_documents:
        with pytest.raises(AttestationError, match="signature: not made with the certificate's key"):
            verify_document(encoded)
