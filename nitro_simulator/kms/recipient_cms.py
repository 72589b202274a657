"""Creates CiphertextForRecipient: CMS EnvelopedData in KMS's form and in others (pure, except for randomness).

Sources: RFC 5652 section 6 (EnvelopedData), RFC 3560 (RSAES-OAEP in CMS), RFC 3565 (AES in CMS), X.690 section 8.1.3
(indefinite lengths). No library writes KMS's mix of definite and indefinite lengths, and the writer takes ten lines.
"""

from __future__ import annotations

import enum
import hashlib
import os

from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

AES_KEY_BYTES = 32
AES_BLOCK_BYTES = 16
SEGMENT_BYTES = 1_000
"""Length of each OCTET STRING that KMS writes, but the last."""
SHORT_SEGMENT_BYTES = 16
"""Length of each OCTET STRING but the last in the SEGMENTED form: short, so that small plaintexts have several."""

_INTEGER, _OCTET_STRING, _NULL, _OID, _SEQUENCE, _SET = 0x02, 0x04, 0x05, 0x06, 0x30, 0x31
_CONTEXT_0, _CONTEXT_0_CONSTRUCTED, _CONTEXT_1_CONSTRUCTED = 0x80, 0xA0, 0xA1
_INDEFINITE = b"\x80"
_END_OF_CONTENTS = b"\0\0"

_OID_DATA = bytes.fromhex("2a864886f70d010701")
_OID_ENVELOPED_DATA = bytes.fromhex("2a864886f70d010703")
_OID_RSAES_OAEP = bytes.fromhex("2a864886f70d010107")
_OID_MGF1 = bytes.fromhex("2a864886f70d010108")
_OID_SHA_256 = bytes.fromhex("608648016503040201")
_OID_AES_256_CBC = bytes.fromhex("60864801650304012a")
_OID_COMMON_NAME = bytes.fromhex("550403")


class RecipientForm(enum.Enum):
    """Forms of the message. All but ISSUER_SERIAL are BER with indefinite lengths and a subjectKeyIdentifier."""

    KMS = enum.auto()
    """What KMS returns: encryptedContent is a constructed [0] with one OCTET STRING for each 1,000 bytes."""
    PRIMITIVE = enum.auto()
    """What KMS returns as well, for content of 1,000 bytes or less: encryptedContent is one primitive [0]."""
    SEGMENTED = enum.auto()
    """Like KMS's, but with OCTET STRINGs of 16 bytes, which BER allows."""
    ISSUER_SERIAL = enum.auto()
    """What some emulators return: version 0, issuerAndSerialNumber, DER."""


def seal_for_recipient(plaintext: bytes, public_key: RSAPublicKey, *, form: RecipientForm = RecipientForm.KMS) -> bytes:
    """Encrypt ``plaintext`` to the recipient's key.

    AES-256-CBC gives no integrity: anyone who can change the message can change the plaintext. KMS relies on TLS.

    Args:
        plaintext: any length; the caller enforces the limit of 6,144 bytes of CiphertextForRecipient.
        public_key: the key in the attestation document.
        form: the form of the message.
    """
    content_key, iv = os.urandom(AES_KEY_BYTES), os.urandom(AES_BLOCK_BYTES)
    oaep = rsa_padding.OAEP(mgf=rsa_padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    encrypted_key = public_key.encrypt(content_key, oaep)
    encrypted_content = _encrypt_cbc(plaintext, content_key, iv)
    if form is RecipientForm.ISSUER_SERIAL:
        return _encode_issuer_serial(encrypted_key, iv, encrypted_content)
    return _encode_kms(_key_identifier(public_key), encrypted_key, iv, _content_field(encrypted_content, form))


def _encode_kms(key_identifier: bytes, encrypted_key: bytes, iv: bytes, content_field: bytes) -> bytes:
    version = _tlv(_INTEGER, b"\x02")
    recipient = _sequence(
        version, _tlv(_CONTEXT_0, key_identifier), _oaep_algorithm(), _tlv(_OCTET_STRING, encrypted_key)
    )
    content_info = _indefinite(_SEQUENCE, _tlv(_OID, _OID_DATA), _cbc_algorithm(iv), content_field)
    enveloped_data = _indefinite(_SEQUENCE, version, _tlv(_SET, recipient), content_info)
    return _indefinite(_SEQUENCE, _tlv(_OID, _OID_ENVELOPED_DATA), _indefinite(_CONTEXT_0_CONSTRUCTED, enveloped_data))


def _encode_issuer_serial(encrypted_key: bytes, iv: bytes, encrypted_content: bytes) -> bytes:
    """Encode the form that names a certificate; the name is made up, and no reader can use it."""
    version = _tlv(_INTEGER, b"\0")
    common_name = _sequence(_tlv(_OID, _OID_COMMON_NAME), _tlv(0x0C, b"recipient"))
    issuer_and_serial = _sequence(_sequence(_tlv(_SET, common_name)), _tlv(_INTEGER, b"\x01"))
    recipient = _sequence(version, issuer_and_serial, _oaep_algorithm(), _tlv(_OCTET_STRING, encrypted_key))
    content_info = _sequence(_tlv(_OID, _OID_DATA), _cbc_algorithm(iv), _tlv(_CONTEXT_0, encrypted_content))
    enveloped_data = _sequence(version, _tlv(_SET, recipient), content_info)
    return _sequence(_tlv(_OID, _OID_ENVELOPED_DATA), _tlv(_CONTEXT_0_CONSTRUCTED, enveloped_data))


def _content_field(encrypted_content: bytes, form: RecipientForm) -> bytes:
    if form is RecipientForm.PRIMITIVE:
        return _tlv(_CONTEXT_0, encrypted_content)
    step = SHORT_SEGMENT_BYTES if form is RecipientForm.SEGMENTED else SEGMENT_BYTES
    segments = (encrypted_content[start : start + step] for start in range(0, len(encrypted_content), step))
    return _indefinite(_CONTEXT_0_CONSTRUCTED, *(_tlv(_OCTET_STRING, segment) for segment in segments))


def _oaep_algorithm() -> bytes:
    sha_256 = _sequence(_tlv(_OID, _OID_SHA_256), _tlv(_NULL))
    mgf1 = _sequence(_tlv(_OID, _OID_MGF1), sha_256)
    parameters = _sequence(_tlv(_CONTEXT_0_CONSTRUCTED, sha_256), _tlv(_CONTEXT_1_CONSTRUCTED, mgf1))
    return _sequence(_tlv(_OID, _OID_RSAES_OAEP), parameters)


def _cbc_algorithm(iv: bytes) -> bytes:
    return _sequence(_tlv(_OID, _OID_AES_256_CBC), _tlv(_OCTET_STRING, iv))


def _key_identifier(public_key: RSAPublicKey) -> bytes:
    """KMS names the recipient by the SHA-256 of its SubjectPublicKeyInfo, not by the SHA-1 of RFC 5280."""
    der = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).digest()


def _encrypt_cbc(plaintext: bytes, key: bytes, iv: bytes) -> bytes:
    padder = padding.PKCS7(AES_BLOCK_BYTES * 8).padder()
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padder.update(plaintext) + padder.finalize()) + encryptor.finalize()


def _sequence(*contents: bytes) -> bytes:
    return _tlv(_SEQUENCE, *contents)


def _tlv(tag: int, *contents: bytes) -> bytes:
    body = b"".join(contents)
    return bytes([tag]) + _length(len(body)) + body


def _length(size: int) -> bytes:
    if size < 0x80:
        return bytes([size])
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([0x80 | len(octets)]) + octets


def _indefinite(tag: int, *contents: bytes) -> bytes:
    return bytes([tag]) + _INDEFINITE + b"".join(contents) + _END_OF_CONTENTS
