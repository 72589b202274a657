"""Attestation documents that match the measurements in key_policies/, signed by the simulator's NSM."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from nitro_attestation.document.cose import parse_unverified_document
from nitro_attestation.document.payload import AttestationDocument
from nitro_simulator.nsm.authority import AttestationAuthority
from nitro_simulator.nsm.service import SimulatedNsm

POLICIES = Path(__file__).parent / "key_policies"
MODULE_ID = "i-0123456789abcdef0-enc0123456789abcde"
PCRS = {index: bytes([0xA0 + index]) * 48 for index in range(5)}
SIGNED_PCRS = PCRS | {8: b"\xa8" * 48}
ACCOUNT_ID = "111122223333"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT_ID}:role/EnclaveInstanceRole"
ADMIN_ARN = f"arn:aws:iam::{ACCOUNT_ID}:role/KeyAdministrator"
ROOT_ARN = f"arn:aws:iam::{ACCOUNT_ID}:root"


@functools.cache
def authority() -> AttestationAuthority:
    """Return the authority that signs these documents. It is a day old, so documents can be dated in the past."""
    return AttestationAuthority.create(at=datetime.now(UTC) - timedelta(days=1))


def make_document(
    *,
    pcrs: dict[int, bytes] | None = None,
    debug: bool = False,
    user_data: bytes | None = None,
    nonce: bytes | None = None,
    public_key: bytes | None = None,
    module_id: str = MODULE_ID,
    **options: Any,
) -> bytes:
    nsm = SimulatedNsm(authority(), module_id=module_id, pcrs=pcrs or PCRS, debug=debug, **options)
    request = {"Attestation": {"user_data": user_data, "nonce": nonce, "public_key": public_key}}
    document = cbor2.loads(nsm.answer(cbor2.dumps(request)))["Attestation"]["document"]
    assert isinstance(document, bytes)
    return document


def make_fields(**options: Any) -> AttestationDocument:
    return parse_unverified_document(make_document(**options))


def root_pem() -> bytes:
    return x509.load_der_x509_certificate(authority().cabundle_der[0]).public_bytes(Encoding.PEM)


def measurements(pcrs: dict[int, bytes] | None = None) -> dict[str, Any]:
    """Return measurements as nitro-cli build-enclave prints them."""
    digests = {f"PCR{index}": value.hex() for index, value in (pcrs or PCRS).items() if index in (0, 1, 2, 8)}
    return {"Measurements": {"HashAlgorithm": "Sha384 { ... }", **digests}}
