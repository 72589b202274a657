"""Send requests to a simulated NSM as an enclave does to /dev/nsm, and build the expected responses."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import cbor2

from nitro_attestation.document.payload import AttestationDocument
from nitro_attestation.verification import verify_document
from nitro_simulator.nsm.authority import AttestationAuthority
from nitro_simulator.nsm.service import SimulatedNsm

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
MODULE_ID = "i-0123456789abcdef0-enc0123456789abcde"
AUTHORITY = AttestationAuthority.create(at=NOW)
ZERO = bytes(48)
PCRS = {0: b"\x01" * 48, 1: b"\x02" * 48, 2: b"\x03" * 48, 3: b"\x04" * 48, 8: b"\x08" * 48}


def extended(before: bytes, *data: bytes) -> bytes:
    for item in data:
        before = hashlib.sha384(before + item).digest()
    return before


def ask(nsm: SimulatedNsm, request: object) -> Any:
    return cbor2.loads(nsm.answer(cbor2.dumps(request)))


def describe(nsm: SimulatedNsm, index: int) -> tuple[bytes, bool]:
    answer = ask(nsm, {"DescribePCR": {"index": index}})["DescribePCR"]
    return answer["data"], answer["lock"]


def attest(nsm: SimulatedNsm, *, at: datetime | None = None, **fields: bytes | None) -> AttestationDocument:
    document = ask(nsm, {"Attestation": fields})["Attestation"]["document"]
    return verify_document(document, root=AUTHORITY.root_sha256, at=at, allow_debug=True)


def error(code: str) -> dict[str, str]:
    return {"Error": code}
