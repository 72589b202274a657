"""A valid attestation document with a fixed time, and documents that differ from it in one respect."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2
import pytest

from nitro_attestation.errors import AttestationError
from nitro_attestation.verification import verify_document
from nitro_simulator.nsm.authority import AttestationAuthority
from nitro_simulator.nsm.service import SimulatedNsm

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
MODULE_ID = "i-0123456789abcdef0-enc0123456789abcde"
NONCE = bytes(range(32))
PCR0 = bytes(range(48))

AUTHORITY = AttestationAuthority.create(at=NOW - timedelta(days=1))
LEAF = AUTHORITY.leaf_for(MODULE_ID, NOW)
ROOT = AUTHORITY.root_sha256


def attest(*, debug: bool = False, **fields: bytes | None) -> bytes:
    nsm = SimulatedNsm(AUTHORITY, module_id=MODULE_ID, pcrs={0: PCR0}, debug=debug, clock=lambda: NOW)
    document = cbor2.loads(nsm.answer(cbor2.dumps({"Attestation": fields})))["Attestation"]["document"]
    assert isinstance(document, bytes)
    return document


GOOD = attest(public_key=b"a key", user_data=b"some data", nonce=NONCE)


def good_fields() -> dict[Any, Any]:
    fields = cbor2.loads(cbor2.loads(GOOD)[2])
    assert isinstance(fields, dict)
    return fields


def signed(fields: object) -> bytes:
    """Return a correctly signed document with the given payload, so only the payload can be wrong."""
    return LEAF.sign(cbor2.dumps(fields))


def resealed(position: int, part: object) -> bytes:
    """Return the valid document with one of the four parts of its COSE_Sign1 replaced."""
    parts = list(cbor2.loads(GOOD))
    parts[position] = part
    return cbor2.dumps(parts)


def refusal(document: bytes, **options: Any) -> AttestationError:
    with pytest.raises(AttestationError) as caught:
        verify_document(document, root=ROOT, **options)
    assert str(caught.value) == f"attestation document: {caught.value.field}: {caught.value.reason}"
    return caught.value
