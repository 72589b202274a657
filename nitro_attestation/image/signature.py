"""The signature of an enclave image: a certificate, and a COSE_Sign1 of PCR0 by its key.

The section is a CBOR array of one map with ``signing_certificate``, a PEM file, and ``signature``, an untagged
COSE_Sign1. Both are arrays of integers, not byte strings. PCR8 measures the certificate alone, so a signature proves
nothing until it is verified: the Nitro hypervisor does so at start, and ``verify_signature`` does here.

Source: aws-nitro-enclaves-image-format, src/utils/eif_signer.rs; RFC 9052 section 4.2; RFC 9053 section 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from nitro_attestation.document.cbor import decode_strict_cbor
from nitro_attestation.errors import ImageError

_INDEX, _VALUE = "register_index", "register_value"
_CERTIFICATE, _SIGNATURE = "signing_certificate", "signature"
_ALGORITHM_HEADER = 1


@dataclass(frozen=True)
class _Algorithm:
    """A COSE algorithm (RFC 9053 section 2.1) and what it stands for."""

    identifier: int
    hash: hashes.HashAlgorithm
    coordinate_bytes: int


_ALGORITHMS = {
    "secp256r1": _Algorithm(-7, hashes.SHA256(), 32),
    "secp384r1": _Algorithm(-35, hashes.SHA384(), 48),
    "secp521r1": _Algorithm(-36, hashes.SHA512(), 66),
}
"""By the name of the curve."""


@dataclass(frozen=True)
class ImageSignature:
    """A signature section whose form has been checked, not what it proves.

    Attributes:
        certificate: of the key that is said to have signed.
        protected: the protected header, as CBOR.
        payload: what was signed, as CBOR.
        signature: r and s, each as long as a coordinate of the key's curve.
    """

    certificate: x509.Certificate
    protected: bytes
    payload: bytes
    signature: bytes

    @property
    def certificate_der(self) -> bytes:
        """What PCR8 measures."""
        return self.certificate.public_bytes(serialization.Encoding.DER)


def parse_signature(section: bytes) -> ImageSignature:
    """Parse a signature section. Does not verify the signature.

    Raises:
        ImageError: it has another form; the error names the field.
    """
    entries = _decode("signature", section)
    if not (isinstance(entries, list) and len(entries) == 1 and isinstance(entries[0], dict)):
        raise ImageError("signature", "not an array of one signature")
    (entry,) = entries
    if set(entry) != {_CERTIFICATE, _SIGNATURE}:
        raise ImageError("signature", f"it has other members than {_CERTIFICATE} and {_SIGNATURE}")
    certificate = _parse_certificate(_bytes(_CERTIFICATE, entry[_CERTIFICATE]))
    sign1 = _decode("signature: COSE_Sign1", _bytes(_SIGNATURE, entry[_SIGNATURE]))
    if not (isinstance(sign1, list) and len(sign1) == 4 and sign1[1] == {}):
        raise ImageError("signature: COSE_Sign1", "not an array of 4 with an empty unprotected header")
    protected, _, payload, signature = sign1
    if not all(isinstance(part, bytes) for part in (protected, payload, signature)):
        raise ImageError("signature: COSE_Sign1", "a part of it is not a byte string")
    return ImageSignature(certificate, protected, payload, signature)


def verify_signature(signature: ImageSignature, pcr0: bytes) -> None:
    """Verify that the certificate's key signed this value of PCR0.

    Does not judge the certificate: anyone can make one, and PCR8 in a key policy says which one counts. Its dates are
    not compared with the present either.

    Raises:
        ImageError: the key signed something else, or has no supported type; the error names the field.
    """
    key = signature.certificate.public_key()
    algorithm = _algorithm(key)
    if _decode("signature: protected header", signature.protected) != {_ALGORITHM_HEADER: algorithm.identifier}:
        raise ImageError("signature: protected header", f"not the algorithm {algorithm.identifier} alone")
    size = algorithm.coordinate_bytes
    if len(signature.signature) != 2 * size:
        raise ImageError("signature: signature", f"{len(signature.signature)} bytes, not {2 * size}")
    r, s = (int.from_bytes(part, "big") for part in (signature.signature[:size], signature.signature[size:]))
    signed = _signed_bytes(signature.protected, signature.payload)
    try:
        _elliptic(key).verify(encode_dss_signature(r, s), signed, ec.ECDSA(algorithm.hash))
    except InvalidSignature:
        raise ImageError("signature: signature", "not made by the certificate's key, or for something else") from None
    if signature.payload != _payload(pcr0):
        raise ImageError("signature: payload", "signed for another PCR0: the image was changed after it was signed")


def sign_pcr0(pcr0: bytes, private_key_pem: bytes, certificate_pem: bytes) -> bytes:
    """Return the signature section of an image.

    The same key signs the same PCR0 with the same bytes (RFC 6979) where the cryptographic library can do that.

    Args:
        pcr0: the image's PCR0.
        private_key_pem: an unencrypted private key on P-256, P-384 or P-521. Is not stored.
        certificate_pem: the certificate of its public key; becomes part of the file as it is.

    Raises:
        ImageError: the key or the certificate cannot be read, or they do not belong together.
    """
    key = _parse_private_key(private_key_pem)
    certificate = _parse_certificate(certificate_pem)
    if certificate.public_key() != key.public_key():
        raise ImageError("certificate", "it has another public key than the private key")
    algorithm = _algorithm(certificate.public_key())
    protected = cbor2.dumps({_ALGORITHM_HEADER: algorithm.identifier})
    payload = _payload(pcr0)
    r, s = decode_dss_signature(key.sign(_signed_bytes(protected, payload), _ecdsa(algorithm)))
    raw = b"".join(number.to_bytes(algorithm.coordinate_bytes, "big") for number in (r, s))
    sign1 = cbor2.dumps([protected, {}, payload, raw])
    return cbor2.dumps([{_CERTIFICATE: list(certificate_pem), _SIGNATURE: list(sign1)}])


def certificate_der(certificate_pem: bytes) -> bytes:
    """Return what PCR8 measures of a certificate in PEM text.

    Raises:
        ImageError: it is not a certificate.
    """
    return _parse_certificate(certificate_pem).public_bytes(serialization.Encoding.DER)


def _ecdsa(algorithm: _Algorithm) -> ec.ECDSA:
    try:
        return ec.ECDSA(algorithm.hash, deterministic_signing=True)
    except UnsupportedAlgorithm:
        return ec.ECDSA(algorithm.hash)


def _payload(pcr0: bytes) -> bytes:
    return cbor2.dumps({_INDEX: 0, _VALUE: list(pcr0)})


def _signed_bytes(protected: bytes, payload: bytes) -> bytes:
    """Return the Sig_structure of RFC 9052 section 4.4."""
    return cbor2.dumps(["Signature1", protected, b"", payload])


def _decode(field: str, data: bytes) -> object:
    try:
        return decode_strict_cbor(data)
    except ValueError as error:
        raise ImageError(field, str(error)) from None


def _bytes(name: str, value: object) -> bytes:
    if isinstance(value, list) and all(type(number) is int and 0 <= number <= 255 for number in value):
        return bytes(value)
    raise ImageError(f"signature: {name}", "not an array of integers from 0 to 255")


def _parse_certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise ImageError("certificate", "not an X.509 certificate in PEM text") from None


def _parse_private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):  # its text could quote the key
        raise ImageError("private key", "not an unencrypted private key in PEM text") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ImageError("private key", "not a key for ECDSA", hint="openssl ecparam -name secp384r1 -genkey makes one")
    return key


def _elliptic(key: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ImageError("certificate", "its key is not one for ECDSA")
    return key


def _algorithm(key: object) -> _Algorithm:
    curve = _elliptic(key).curve.name
    if curve not in _ALGORITHMS:
        raise ImageError("certificate", f"unsupported curve {curve}; P-256, P-384 and P-521 are supported")
    return _ALGORITHMS[curve]
