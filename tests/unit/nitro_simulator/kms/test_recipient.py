from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from nitro_simulator.errors import KmsFault
from nitro_simulator.kms.recipient import VerifiedRecipient, verify_recipient
from nitro_simulator.nsm.authority import AttestationAuthority
from tests.support.kms.world import MODULE_ID, PCR0, PCRS, Enclave, KmsWorld, new_world


def _verify(world: KmsWorld, recipient: dict[str, Any], *, root_sha256: bytes | None = None) -> VerifiedRecipient:
    return verify_recipient(recipient, root_sha256=root_sha256 or world.authority.root_sha256, at=world.clock())


def _refusal(world: KmsWorld, recipient: dict[str, Any], *, root_sha256: bytes | None = None) -> str:
    with pytest.raises(KmsFault) as fault:
        _verify(world, recipient, root_sha256=root_sha256)
    assert (fault.value.code, fault.value.http_status) == ("ValidationException", 400)
    return fault.value.message or ""


def _der(public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_good_document_gives_its_key_and_measurements(world: KmsWorld, enclave: Enclave) -> None:
    recipient = _verify(world, enclave.recipient())

    assert _der(recipient.public_key) == enclave.public_key_der
    assert recipient.document.module_id == MODULE_ID
    assert recipient.condition_context["kms:RecipientAttestation:ImageSha384"] == PCR0
    for index, value in PCRS.items():
        assert recipient.condition_context[f"kms:RecipientAttestation:PCR{index}"] == value.hex()


def test_debug_enclave_shows_zeros(world: KmsWorld, recipient_key: rsa.RSAPrivateKey) -> None:
    recipient = _verify(world, world.enclave(recipient_key, debug=True).recipient())

    assert recipient.condition_context["kms:RecipientAttestation:ImageSha384"] == "00" * 48
    assert recipient.condition_context["kms:RecipientAttestation:PCR2"] == "00" * 48


@pytest.mark.parametrize("bits", [3072, 4096])
def test_longer_rsa_keys_are_accepted(world: KmsWorld, bits: int) -> None:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=bits)

    assert _verify(world, world.enclave(key).recipient()).public_key.key_size == bits


@pytest.mark.parametrize("missing", ["KeyEncryptionAlgorithm", "AttestationDocument"])
def test_half_a_recipient_is_refused(world: KmsWorld, enclave: Enclave, missing: str) -> None:
    recipient = enclave.recipient()
    del recipient[missing]

    assert "expected KeyEncryptionAlgorithm and AttestationDocument" in _refusal(world, recipient)


def test_document_of_another_root_is_refused(world: KmsWorld, recipient_key: rsa.RSAPrivateKey) -> None:
    stranger = new_world(AttestationAuthority.create())

    assert "root" in _refusal(world, stranger.enclave(recipient_key).recipient())
    assert "root" in _refusal(world, world.enclave(recipient_key).recipient(), root_sha256=hashlib.sha256().digest())


def test_document_with_an_expired_certificate_is_refused(world: KmsWorld, enclave: Enclave) -> None:
    recipient = enclave.recipient()
    world.clock.advance(timedelta(hours=3, minutes=5).total_seconds())

    assert "attestation document" in _refusal(world, recipient)


def test_document_with_changed_payload_is_refused(world: KmsWorld, enclave: Enclave) -> None:
    document = enclave.document()
    forged = document.replace(PCRS[0], PCRS[1])
    assert forged != document

    assert "signature" in _refusal(world, enclave.recipient() | {"AttestationDocument": forged})


def test_document_with_changed_signature_is_refused(world: KmsWorld, enclave: Enclave) -> None:
    document = enclave.document()

    assert "signature" in _refusal(
        world, enclave.recipient() | {"AttestationDocument": document[:-1] + bytes([document[-1] ^ 1])}
    )


@pytest.mark.parametrize("document", [b"\0", b"x" * 5000, cbor2.dumps([b"", {}, b"", b""])])
def test_bytes_that_are_not_a_document_are_refused(world: KmsWorld, enclave: Enclave, document: bytes) -> None:
    assert "attestation document" in _refusal(world, enclave.recipient() | {"AttestationDocument": document})


def test_document_without_key_is_refused(world: KmsWorld, enclave: Enclave) -> None:
    recipient = enclave.recipient() | {"AttestationDocument": enclave.document(public_key_der=None)}

    assert "public_key: the document has none" in _refusal(world, recipient)


def test_document_with_a_key_that_kms_cannot_use_is_refused(world: KmsWorld, enclave: Enclave) -> None:
    curve_key = _der(ec.generate_private_key(ec.SECP384R1()).public_key())
    short_key = _der(rsa.generate_private_key(public_exponent=65_537, key_size=1024).public_key())  # noqa: S505 - that is the point

    wrong_kind, no_key = "public_key: expected RSA with ", "public_key: not a SubjectPublicKeyInfo"
    for public_key_der, reason in ((curve_key, wrong_kind), (short_key, wrong_kind), (b"no key", no_key)):
        recipient = enclave.recipient() | {"AttestationDocument": enclave.document(public_key_der)}
        assert reason in _refusal(world, recipient)
