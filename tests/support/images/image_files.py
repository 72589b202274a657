"""Enclave image files made from a few bytes, and keys that sign them."""

from __future__ import annotations

import datetime as dt
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nitro_attestation.image.eif_format import CRC_BYTES, HEADER_BYTES
from nitro_attestation.image.metadata import Metadata, encode_metadata
from nitro_attestation.image.signature import sign_pcr0
from nitro_attestation.image.sources import BytesSource
from nitro_attestation.image.writing import ImageParts, write_image

METADATA = Metadata("app", "1.0", "2026-01-02T03:04:05+00:00", "test", "1", "Linux", "6.1.0", {"Id": "x"}, None)
PARTS = ImageParts(
    BytesSource(b"kernel" * 100),
    "reboot=k panic=30",
    encode_metadata(METADATA),
    (BytesSource(b"first" * 50), BytesSource(b"second" * 70)),
)


@dataclass(frozen=True)
class SigningKey:
    """A private key and its certificate, both in PEM."""

    private_key_pem: bytes
    certificate_pem: bytes

    def sign(self, pcr0: bytes) -> bytes:
        return sign_pcr0(pcr0, self.private_key_pem, self.certificate_pem)


def signing_key(curve: ec.EllipticCurve | None = None, name: str = "signer") -> SigningKey:
    """Make a key and a certificate for it."""
    key = ec.generate_private_key(curve or ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=365))
        .sign(key, hashes.SHA384())
    )
    private_key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return SigningKey(private_key_pem, certificate.public_bytes(serialization.Encoding.PEM))


def image_bytes(parts: ImageParts = PARTS, key: SigningKey | None = None) -> bytes:
    """Return an enclave image file."""
    file = BytesIO()
    write_image(file, parts, sign=key.sign if key else None)
    return file.getvalue()


def with_right_crc(image: bytes) -> bytes:
    """Return a changed file with the CRC that it now has."""
    place = HEADER_BYTES - CRC_BYTES
    crc32 = zlib.crc32(image[HEADER_BYTES:], zlib.crc32(image[:place]))
    return image[:place] + struct.pack(">I", crc32) + image[HEADER_BYTES:]
