"""CiphertextForRecipient: parses and decrypts a CMS EnvelopedData in BER (pure).

KMS encrypts a plaintext with a new AES key, and that key with the recipient's RSA key; both are in one CMS message.
Opening it takes two steps, which do not trust each other's input:

1. ``parse_enveloped_data`` reads the fields. KMS writes three shapes, all with indefinite lengths and always with the
   same algorithms. They differ in the encrypted content: one primitive value, one OCTET STRING or, above SEGMENT_BYTES,
   several. ``read_kms_shape`` recognizes them byte for byte with a pattern, at a hundredth of the cost of parsing BER.
   ``read_ber`` parses every other message, and a test checks that both give the same result. It uses pyasn1 with a
   schema of the whole message. The usual two steps, which pass through an untyped ANY, do not work: pyasn1 loses the
   end-of-contents octets inside an ANY.
2. ``decrypt_enveloped_data`` decrypts them. CBC is not authenticated, so all failures have the same text, which
   therefore cannot serve as an oracle. Only the TLS connection proves that the message comes from KMS.

Sources: RFC 5652 section 6, RFC 3560, RFC 4055 section 4.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.padding import PKCS7
from pyasn1.codec.ber import decoder

from enclave_tool.errors import CmsError
from enclave_tool.recipient.cms_schema import CONTENT_INFO

MAX_CMS_BYTES = 6_144
"""KMS API, Decrypt: CiphertextForRecipient."""
AES_BLOCK_BYTES = 16
SEGMENT_BYTES = 1_000
"""KMS cuts longer content into OCTET STRINGs of this size and a rest, as seen in its messages."""

SUBJECT = "CiphertextForRecipient"
CANNOT_OPEN = f"{SUBJECT}: cannot be opened with this recipient's key"
"""The text for a wrong key, a wrong content key and wrong padding. CBC is not authenticated, so different texts would
help only an attacker who tries ciphertexts."""

_ENVELOPED_DATA = "1.2.840.113549.1.7.3"
_DATA = "1.2.840.113549.1.7.1"
_RSAES_OAEP = "1.2.840.113549.1.1.7"
_MGF1 = "1.2.840.113549.1.1.8"
_SHA256 = "2.16.840.1.101.3.4.2.1"
_AES256_CBC = "2.16.840.1.101.3.4.1.42"
_VERSIONS = (0, 2)
"""RFC 5652 section 6.1: 2 if the recipient is named by its key identifier, as by KMS; emulators send 0."""


@dataclass(frozen=True)
class EnvelopedData:
    """The fields of an EnvelopedData for one recipient.

    Attributes:
        recipient_key_identifier: the subjectKeyIdentifier, or None if issuer and serial number name the recipient.
        encrypted_key: the content key, encrypted with the recipient's RSA key.
        iv: 16 bytes.
        encrypted_content: a multiple of 16 bytes, at least one block.
    """

    recipient_key_identifier: bytes | None
    encrypted_key: bytes
    iv: bytes
    encrypted_content: bytes


def parse_enveloped_data(ber: bytes) -> EnvelopedData:
    """Parse a ContentInfo with an EnvelopedData, as KMS and its emulators write it.

    Lengths may be definite or indefinite, and the encrypted content primitive or in constructed segments. Nothing is
    authenticated here: anyone who knows the recipient's public key can make such a message.

    Args:
        ber: at most MAX_CMS_BYTES.

    Raises:
        CmsError: the bytes are not such a message, continue after its end, or name other algorithms than RSAES-OAEP
            with SHA-256 and MGF1-SHA-256, and AES-256-CBC.
    """
    if len(ber) > MAX_CMS_BYTES:
        raise CmsError(f"{SUBJECT}: expected at most {MAX_CMS_BYTES} bytes, got {len(ber)}")
    return read_kms_shape(ber) or read_ber(ber)


def read_ber(ber: bytes) -> EnvelopedData:
    """Parse a message of any shape and at most MAX_CMS_BYTES; raise the same errors as ``parse_enveloped_data``."""
    try:
        content_info, rest = decoder.decode(ber, asn1Spec=CONTENT_INFO)
        enveloped = _read_content_info(content_info)
    except CmsError:
        raise
    except Exception:  # noqa: BLE001 - on hostile input pyasn1 raises more kinds of errors than its own
        raise CmsError(f"{SUBJECT}: not a CMS EnvelopedData in BER") from None
    if rest:
        raise CmsError(f"{SUBJECT}: {len(rest)} bytes follow the EnvelopedData")
    return enveloped


def read_kms_shape(ber: bytes) -> EnvelopedData | None:
    """Parse a message in one of the shapes that KMS writes (X.690 section 8.1); return None for any other message.

    The result is the same as that of ``read_ber``.
    """
    match = _KMS_SHAPE.fullmatch(ber)
    if match is None:
        return None
    recipient, encrypted_key, last_part = (match[name] for name in ("recipient", "encrypted_key", "last_part"))
    content = _without_headers(match["segments"] or b"") + last_part
    is_whole = (
        int.from_bytes(match["recipients_length"]) == len(recipient) + _LONG_HEADER_BYTES
        and int.from_bytes(match["recipient_length"]) == len(recipient)
        and int.from_bytes(match["key_length"]) == len(encrypted_key)
        and _definite_length(match["last_length"]) == len(last_part)
        and len(content) % AES_BLOCK_BYTES == 0
    )
    return EnvelopedData(match["identifier"], encrypted_key, match["iv"], content) if is_whole else None


def _without_headers(segments: bytes) -> bytes:
    """Return the content of whole segments, each a header and SEGMENT_BYTES."""
    starts = range(_LONG_HEADER_BYTES, len(segments), _LONG_HEADER_BYTES + SEGMENT_BYTES)
    return b"".join([segments[start : start + SEGMENT_BYTES] for start in starts])


def _definite_length(octets: bytes) -> int:
    return octets[0] if len(octets) == 1 else int.from_bytes(octets[1:])


_LONG_HEADER_BYTES = 4
"""A tag and a length of 0x82 and two octets."""
_KMS_SHAPE = re.compile(
    rb"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"  # ContentInfo: envelopedData
    rb"\xa0\x80\x30\x80\x02\x01\x02"  # [0] EnvelopedData: version 2
    rb"\x31\x82(?P<recipients_length>..)\x30\x82(?P<recipient_length>..)"  # one KeyTransRecipientInfo
    rb"(?P<recipient>\x02\x01\x02\x80\x20(?P<identifier>.{32})"  # version 2, [0] subjectKeyIdentifier
    rb"\x30\x3c\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07\x30\x2f"  # RSAES-OAEP
    rb"\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00"  # SHA-256
    rb"\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08"  # MGF1
    rb"\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00"  # with SHA-256
    rb"\x04\x82(?P<key_length>..)(?P<encrypted_key>(?:.{128}){2,4}))"  # of RSA with 2,048 to 4,096 bits
    rb"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"  # EncryptedContentInfo: data
    rb"\x30\x1d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x2a\x04\x10(?P<iv>.{16})"  # AES-256-CBC
    rb"(?:\xa0\x80(?P<segments>(?:\x04\x82\x03\xe8.{1000}(?=\x04))*+)\x04|\x80)"  # [0]: around segments, or primitive
    rb"(?P<last_length>[\x01-\x7f]|\x81.|\x82..)(?P<last_part>.+)"
    rb"(?(segments)\x00\x00)(?:\x00\x00){4}",  # the ends of EncryptedContentInfo, EnvelopedData, [0] and ContentInfo
    re.DOTALL,
)


def decrypt_enveloped_data(enveloped: EnvelopedData, private_key: RSAPrivateKey) -> bytes:
    """Return the plaintext.

    Args:
        enveloped: what ``parse_enveloped_data`` returned.
        private_key: the recipient's private key.

    Raises:
        CmsError: it cannot be opened with this key. The text does not say which step failed.
    """
    oaep = padding.OAEP(mgf=padding.MGF1(SHA256()), algorithm=SHA256(), label=None)
    unpadder = PKCS7(AES_BLOCK_BYTES * 8).unpadder()
    try:
        content_key = private_key.decrypt(enveloped.encrypted_key, oaep)
        decryptor = Cipher(AES256(content_key), CBC(enveloped.iv)).decryptor()
        padded = decryptor.update(enveloped.encrypted_content) + decryptor.finalize()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        raise CmsError(CANNOT_OPEN) from None


def _read_content_info(content_info: Any) -> EnvelopedData:
    _expect("content type", str(content_info["contentType"]), _ENVELOPED_DATA)
    enveloped = content_info["content"]
    _expect_version("EnvelopedData", enveloped)
    recipient = _only_recipient(enveloped["recipientInfos"])
    content = enveloped["encryptedContentInfo"]
    return EnvelopedData(
        recipient_key_identifier=_read_key_identifier(recipient["rid"]),
        encrypted_key=bytes(recipient["encryptedKey"]),
        iv=_read_iv(content),
        encrypted_content=_read_encrypted_content(content),
    )


def _only_recipient(recipients: Any) -> Any:
    if len(recipients) != 1:
        raise CmsError(f"{SUBJECT}: expected one recipient, got {len(recipients)}")
    recipient = recipients[0]
    _expect_version("KeyTransRecipientInfo", recipient)
    algorithm = recipient["keyEncryptionAlgorithm"]
    _expect("key encryption algorithm", str(algorithm["algorithm"]), _RSAES_OAEP)
    parameters = algorithm["parameters"]
    _expect("OAEP hash", str(parameters["hashAlgorithm"]["algorithm"]), _SHA256)
    _expect("OAEP mask generation", str(parameters["maskGenAlgorithm"]["algorithm"]), _MGF1)
    _expect("MGF1 hash", str(parameters["maskGenAlgorithm"]["parameters"]["algorithm"]), _SHA256)
    if parameters["pSourceAlgorithm"].isValue and bytes(parameters["pSourceAlgorithm"]["parameters"]):
        raise CmsError(f"{SUBJECT}: OAEP label: not empty")
    return recipient


def _read_key_identifier(rid: Any) -> bytes | None:
    return bytes(rid["subjectKeyIdentifier"]) if rid.getName() == "subjectKeyIdentifier" else None


def _read_iv(content: Any) -> bytes:
    _expect("encrypted content type", str(content["contentType"]), _DATA)
    algorithm = content["contentEncryptionAlgorithm"]
    _expect("content encryption algorithm", str(algorithm["algorithm"]), _AES256_CBC)
    iv = bytes(algorithm["parameters"])
    if len(iv) != AES_BLOCK_BYTES:
        raise CmsError(f"{SUBJECT}: IV: expected {AES_BLOCK_BYTES} bytes, got {len(iv)}")
    return iv


def _read_encrypted_content(content: Any) -> bytes:
    encrypted = bytes(content["encryptedContent"])
    if not encrypted or len(encrypted) % AES_BLOCK_BYTES:
        raise CmsError(f"{SUBJECT}: encrypted content: expected whole AES blocks, got {len(encrypted)} bytes")
    return encrypted


def _expect_version(what: str, structure: Any) -> None:
    version = int(structure["version"])
    if version not in _VERSIONS:
        raise CmsError(f"{SUBJECT}: {what} version: expected one of {_VERSIONS}, got {version}")


def _expect(what: str, got: str, expected: str) -> None:
    if got != expected:
        raise CmsError(f"{SUBJECT}: {what}: expected {expected}, got {got[:64]}")
