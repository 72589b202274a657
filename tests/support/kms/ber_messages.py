"""Write CMS EnvelopedData messages in every valid encoding that a parser must accept, and in malformed ones."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import load_der_public_key

from enclave_tool.recipient.attested_key import RecipientKey

DATA = "1.2.840.113549.1.7.1"
ENVELOPED_DATA = "1.2.840.113549.1.7.3"
RSAES_OAEP = "1.2.840.113549.1.1.7"
MGF1 = "1.2.840.113549.1.1.8"
P_SPECIFIED = "1.2.840.113549.1.1.9"
SHA_256 = "2.16.840.1.101.3.4.2.1"
AES_256_CBC = "2.16.840.1.101.3.4.1.42"


class ContentForm(enum.StrEnum):
    """How encryptedContent is written."""

    PRIMITIVE = "primitive"
    SEGMENTS_DEFINITE = "segments-definite"
    SEGMENTS_INDEFINITE = "segments-indefinite"


@dataclass(frozen=True)
class Shape:
    """Everything about a message except its plaintext."""

    is_indefinite: bool = True
    content_form: ContentForm = ContentForm.SEGMENTS_INDEFINITE
    version: int = 2
    recipient_version: int = 2
    is_named_by_key: bool = True
    content_type: str = ENVELOPED_DATA
    inner_content_type: str = DATA
    key_algorithm: str = RSAES_OAEP
    hash_algorithm: str = SHA_256
    mask_algorithm: str = MGF1
    mask_hash_algorithm: str = SHA_256
    content_algorithm: str = AES_256_CBC
    label: bytes | None = None
    recipients: int = 1
    extra: bytes = b""
    """Written after encryptedContentInfo, inside EnvelopedData."""

    def __str__(self) -> str:
        length = "indefinite" if self.is_indefinite else "definite"
        return f"{length}-{self.content_form}-v{self.version}-{'ski' if self.is_named_by_key else 'issuer'}"


SHAPES = [
    Shape(is_indefinite, content_form, version, version, is_named_by_key)
    for is_indefinite in (True, False)
    for content_form in ContentForm
    for version in (0, 2)
    for is_named_by_key in (True, False)
]
KMS_SHAPE = Shape()


@dataclass(frozen=True)
class Parts:
    """The parts of a message that carry secrets, as they are written into it."""

    identifier: bytes
    encrypted_key: bytes
    iv: bytes
    encrypted_content: bytes


def seal(key: RecipientKey, plaintext: bytes, shape: Shape = KMS_SHAPE) -> bytes:
    return write_message(parts_for(key, plaintext), shape)


def parts_for(
    key: RecipientKey,
    plaintext: bytes,
    *,
    pad: bool = True,
    content_key: bytes | None = None,
    label: bytes | None = None,
) -> Parts:
    content_key = os.urandom(32) if content_key is None else content_key
    iv = os.urandom(16)
    size = 16 - len(plaintext) % 16 if pad else 0
    aes_key = content_key if len(content_key) in (16, 24, 32) else bytes(32)
    encryptor = Cipher(algorithms.AES(aes_key), modes.CBC(iv)).encryptor()
    encrypted_content = encryptor.update(plaintext + bytes([size]) * size) + encryptor.finalize()
    public_key = load_der_public_key(key.public_key_der)
    assert isinstance(public_key, RSAPublicKey)
    encrypted_key = public_key.encrypt(content_key, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label))
    return Parts(key.identifier, encrypted_key, iv, encrypted_content)


def write_message(parts: Parts, shape: Shape = KMS_SHAPE) -> bytes:
    def node(tag: int, *contents: bytes) -> bytes:
        body = b"".join(contents)
        return bytes([tag, 0x80]) + body + b"\0\0" if shape.is_indefinite else tlv(tag, body)

    parameters = [
        node(0xA0, node(0x30, oid(shape.hash_algorithm))),
        node(0xA1, node(0x30, oid(shape.mask_algorithm), node(0x30, oid(shape.mask_hash_algorithm)))),
    ]
    if shape.label is not None:
        parameters.append(node(0xA2, node(0x30, oid(P_SPECIFIED), tlv(4, shape.label))))
    issuer = node(0x30, node(0x31, node(0x30, oid("2.5.4.3"), tlv(0x0C, b"nobody"))))
    recipient = node(
        0x30,
        integer(shape.recipient_version),
        tlv(0x80, parts.identifier) if shape.is_named_by_key else node(0x30, issuer, integer(1)),
        node(0x30, oid(shape.key_algorithm), node(0x30, *parameters)),
        tlv(4, parts.encrypted_key),
    )
    content_info = node(
        0x30,
        oid(shape.inner_content_type),
        node(0x30, oid(shape.content_algorithm), tlv(4, parts.iv)),
        encrypted_content(parts.encrypted_content, shape.content_form),
    )
    enveloped = node(
        0x30, integer(shape.version), node(0x31, *[recipient] * shape.recipients), content_info, shape.extra
    )
    return node(0x30, oid(shape.content_type), node(0xA0, enveloped))


def encrypted_content(data: bytes, form: ContentForm) -> bytes:
    if form is ContentForm.PRIMITIVE:
        return tlv(0x80, data)
    segments = tlv(4, data[:16]) + tlv(4, data[16:])
    return b"\xa0\x80" + segments + b"\0\0" if form is ContentForm.SEGMENTS_INDEFINITE else tlv(0xA0, segments)


def tlv(tag: int, body: bytes) -> bytes:
    return bytes([tag]) + _length(len(body)) + body


def integer(value: int) -> bytes:
    return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    return tlv(6, b"".join(_base_128(arc) for arc in (first * 40 + second, *rest)))


def _base_128(number: int) -> bytes:
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.insert(0, number & 0x7F | 0x80)
    return bytes(digits)


def _length(size: int) -> bytes:
    if size < 0x80:
        return bytes([size])
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets
