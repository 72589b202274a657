"""Signatures of PCR0."""

from __future__ import annotations

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from nitro_attestation.errors import ImageError
from nitro_attestation.image.measuring import signer_pcr
from nitro_attestation.image.signature import certificate_der, parse_signature, sign_pcr0, verify_signature
from tests.support.images.image_files import signing_key

PCR0 = bytes(range(48))
KEY = signing_key()
SECTION = KEY.sign(PCR0)


def changed(**members: object) -> bytes:
    return cbor2.dumps([{**cbor2.loads(SECTION)[0], **members}])


def changed_sign1(index: int, value: object) -> bytes:
    sign1 = cbor2.loads(bytes(cbor2.loads(SECTION)[0]["signature"]))
    sign1[index] = value
    return changed(signature=list(cbor2.dumps(sign1)))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_signature_of_each_curve_verifies(curve: ec.EllipticCurve) -> None:
    key = signing_key(curve)
    signature = parse_signature(key.sign(PCR0))
    verify_signature(signature, PCR0)
    assert signature.certificate_der == certificate_der(key.certificate_pem)


def test_same_key_signs_the_same_bytes_twice() -> None:
    assert KEY.sign(PCR0) == SECTION


def test_pcr8_is_of_the_certificate_alone() -> None:
    assert signer_pcr(parse_signature(SECTION).certificate_der) == signer_pcr(certificate_der(KEY.certificate_pem))
    assert signer_pcr(certificate_der(signing_key().certificate_pem)) != signer_pcr(
        certificate_der(KEY.certificate_pem)
    )


@pytest.mark.parametrize(
    ("section", "field"),
    [
        (b"", "signature"),
        (b"\xff", "signature"),
        (cbor2.dumps([]), "signature"),
        (cbor2.dumps(cbor2.loads(SECTION) * 2), "signature"),
        (changed(more=1), "signature"),
        (changed(signing_certificate=b"bytes"), "signature: signing_certificate"),
        (changed(signing_certificate=[256]), "signature: signing_certificate"),
        (changed(signing_certificate=[True]), "signature: signing_certificate"),
        (changed(signing_certificate=list(b"no certificate")), "certificate"),
        (changed(signature=list(b"\xff")), "signature: COSE_Sign1"),
        (changed(signature=list(cbor2.dumps([b"", {}, b""]))), "signature: COSE_Sign1"),
        (changed_sign1(1, {1: 2}), "signature: COSE_Sign1"),
        (changed_sign1(2, "text"), "signature: COSE_Sign1"),
    ],
)
def test_section_of_another_form_is_refused_by_its_field(section: bytes, field: str) -> None:
    with pytest.raises(ImageError) as raised:
        parse_signature(section)
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("section", "field"),
    [
        (changed_sign1(0, cbor2.dumps({1: -7})), "signature: protected header"),
        (changed_sign1(0, cbor2.dumps({1: -35, 4: b"key"})), "signature: protected header"),
        (changed_sign1(0, b""), "signature: protected header"),
        (changed_sign1(3, bytes(96)), "signature: signature"),
        (changed_sign1(3, bytes(95)), "signature: signature"),
        (
            changed_sign1(2, cbor2.dumps({"register_index": 0, "register_value": list(bytes(48))})),
            "signature: signature",
        ),
        (changed(signing_certificate=list(signing_key().certificate_pem)), "signature: signature"),
        (KEY.sign(bytes(48)), "signature: payload"),
    ],
)
def test_signature_that_proves_nothing_is_refused_by_its_field(section: bytes, field: str) -> None:
    with pytest.raises(ImageError) as raised:
        verify_signature(parse_signature(section), PCR0)
    assert raised.value.field == field


def test_key_of_another_certificate_is_refused() -> None:
    with pytest.raises(ImageError, match=r"^certificate: it has another public key than the private key$"):
        sign_pcr0(PCR0, KEY.private_key_pem, signing_key().certificate_pem)


def test_rsa_key_is_refused() -> None:
    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ImageError, match=r"^private key: not a key for ECDSA$"):
        sign_pcr0(PCR0, key, KEY.certificate_pem)


def test_error_about_a_private_key_does_not_quote_it() -> None:
    with pytest.raises(ImageError) as raised:
        sign_pcr0(PCR0, b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", KEY.certificate_pem)
    assert "c2VjcmV0" not in repr(raised.value)
    assert raised.value.field == "private key"


def test_unsupported_curve_is_refused() -> None:
    key = signing_key(ec.SECP256K1())
    with pytest.raises(ImageError, match=r"unsupported curve secp256k1; P-256, P-384 and P-521 are supported"):
        key.sign(PCR0)
