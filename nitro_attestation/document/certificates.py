"""Parse X.509 certificates from untrusted bytes, without Python warnings (pure).

``cryptography`` warns about certificates that it can read but that violate RFC 5280: a serial number that is not
positive, a name that is too long, and others that depend on its version. The warning would appear on the standard error
of every program that verifies such a document. This module accepts or refuses a certificate, and never warns.
"""

from __future__ import annotations

import hashlib
import warnings

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from nitro_attestation.errors import AttestationError

AWS_NITRO_ROOT_SHA256 = bytes.fromhex("641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b")
"""SHA-256 of AWS_NitroEnclaves_Root-G1 in DER. Source: AWS Nitro Enclaves user guide, "Verifying the root of trust"."""

# Set once, for the modules of this package only. warnings.catch_warnings around each certificate would change the
# filters of the whole process for a moment, which is not safe with threads.
warnings.filterwarnings("ignore", module=r"nitro_attestation\.document\.")

_PEM_START = b"-----BEGIN CERTIFICATE-----"


def parse_certificate(field: str, der: bytes) -> x509.Certificate:
    """Parse the certificate in a field of a document.

    Raises:
        AttestationError: it is not an X.509 certificate in DER, or its serial number is not positive.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        # these are parsed on first use: make them fail here, where the error can name the certificate
        _ = (certificate.subject, certificate.issuer, certificate.extensions, certificate.public_key())
        _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    except Exception:  # noqa: BLE001 - hostile bytes raise ValueError, TypeError, InvalidVersion and others
        raise AttestationError(field, "not an X.509 certificate in DER") from None
    if certificate.serial_number <= 0:
        raise AttestationError(field, "the serial number is not positive (RFC 5280 section 4.1.2.2)")
    return certificate


def root_fingerprint(root: bytes) -> bytes:
    """Return the SHA-256 of a root certificate in DER.

    Args:
        root: the certificate in PEM or DER, or its SHA-256. Text around the certificate in PEM is ignored.

    Raises:
        ValueError: it is none of these, or contains several certificates.
    """
    if len(root) == hashlib.sha256().digest_size:
        return root
    try:
        if _PEM_START in root:
            certificates = x509.load_pem_x509_certificates(root)
        else:
            certificates = [x509.load_der_x509_certificate(root)]
    except Exception:  # noqa: BLE001 - as above
        raise ValueError("not a certificate in PEM or DER, nor its SHA-256") from None
    if len(certificates) != 1:
        raise ValueError(f"expected one certificate, got {len(certificates)}")
    return certificates[0].fingerprint(hashes.SHA256())
