"""The certificates of an attestation document: from the pinned root down to the key that signed it (pure).

The library builds and checks the path (signatures, names, path lengths, critical extensions); what it leaves to its
caller, and what deserves an error that names the certificate, is checked here first.
Source: "Nitro Enclaves Attestation Process" of aws-nitro-enclaves-nsm-api, section 3.2.3; RFC 5280.
"""

from __future__ import annotations

import hashlib
import itertools
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import SignatureAlgorithmOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from nitro_attestation.errors import AttestationError
from nitro_attestation.quoting import quoted

MAX_CABUNDLE_CERTIFICATES = 8
"""Most certificates above the leaf, which bounds the work a hostile bundle can cause. AWS's chains have 4."""
MAX_LIBRARY_CHARS = 160
"""Most characters of the library's own reason that an error quotes."""


def verify_chain(
    certificate_der: bytes, cabundle_der: tuple[bytes, ...], *, root_sha256: bytes, at: datetime
) -> ec.EllipticCurvePublicKey:
    """Verify that the certificates lead from the pinned root to the leaf, in the order the document has them.

    Does not ask whether a certificate has been revoked.

    Args:
        certificate_der: the leaf.
        cabundle_der: at least one certificate, root first.
        root_sha256: SHA-256 of the root certificate's DER, 32 bytes.
        at: the time all of them are judged at, with a time zone.

    Returns:
        The leaf's key, on P-384.

    Raises:
        AttestationError: another root, a certificate that cannot be read, is not valid at that time, not of P-384 and
            SHA-384, of the wrong kind for its place, or not signed by the one above it.
    """
    _check_root(cabundle_der[0], root_sha256)
    if len(cabundle_der) > MAX_CABUNDLE_CERTIFICATES:
        raise AttestationError(
            "cabundle", f"expected at most {MAX_CABUNDLE_CERTIFICATES} certificates, got {len(cabundle_der)}"
        )
    authorities = [_parse_certificate(f"cabundle[{i}]", der) for i, der in enumerate(cabundle_der)]
    leaf = _parse_certificate("certificate", certificate_der)
    for i, authority in enumerate(authorities):
        _check_certificate(f"cabundle[{i}]", authority, at)
        _check_authority(f"cabundle[{i}]", authority)
    key = _check_certificate("certificate", leaf, at)
    _check_leaf(leaf)
    _check_order([*authorities, leaf])
    _verify_path(leaf, authorities, at)
    return key


def _check_root(root_der: bytes, root_sha256: bytes) -> None:
    got = hashlib.sha256(root_der).digest()
    if got != root_sha256:
        raise AttestationError(
            "cabundle[0]",
            f"expected the root certificate with SHA-256 {root_sha256.hex()}, got {got.hex()}",
            hint="a document of the simulator has the simulator's root, not AWS's; neither passes for the other",
        )


def _parse_certificate(field: str, der: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        # these are parsed on first use: let them fail here, where the certificate can be named
        _ = (certificate.subject, certificate.issuer, certificate.extensions, certificate.public_key())
    except Exception:  # noqa: BLE001 - hostile bytes draw ValueError, TypeError, InvalidVersion and warnings from it
        raise AttestationError(field, "expected an X.509 certificate in DER, got something unreadable") from None
    if certificate.serial_number <= 0:
        raise AttestationError(field, "expected a positive serial number (RFC 5280 section 4.1.2.2), got another")
    return certificate


def _check_certificate(field: str, certificate: x509.Certificate, at: datetime) -> ec.EllipticCurvePublicKey:
    """Check what every certificate of the chain must be; AWS's own have P-384 keys and ecdsa-with-SHA384 throughout."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not start <= at <= end:
        raise AttestationError(
            field, f"expected a certificate valid at {_text(at)}, got one valid from {_text(start)} to {_text(end)}"
        )
    key = certificate.public_key()
    if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)):
        raise AttestationError(field, "expected a key on P-384, got another key")
    if certificate.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA384:
        oid = certificate.signature_algorithm_oid.dotted_string
        raise AttestationError(field, f"expected a signature of ecdsa-with-SHA384, got {oid}")
    return key


def _check_authority(field: str, certificate: x509.Certificate) -> None:
    if not _is_ca(certificate):
        raise AttestationError(field, "expected a CA certificate, got one that is none (basicConstraints)")
    usage = _key_usage(certificate)
    if usage is None or not usage.key_cert_sign:
        raise AttestationError(field, "expected a key that may sign certificates, got one that may not (keyUsage)")


def _check_leaf(certificate: x509.Certificate) -> None:
    if _is_ca(certificate):
        raise AttestationError("certificate", "expected an end entity, got a CA certificate (basicConstraints)")
    usage = _key_usage(certificate)
    if usage is None or not usage.digital_signature or usage.key_cert_sign:
        raise AttestationError("certificate", "expected a key for digital signatures only, got another (keyUsage)")


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _key_usage(certificate: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def _check_order(chain: list[x509.Certificate]) -> None:
    for i, (issuer, certificate) in enumerate(itertools.pairwise(chain), start=1):
        if certificate.issuer != issuer.subject:
            field = "certificate" if i == len(chain) - 1 else f"cabundle[{i}]"
            raise AttestationError(
                field, f"expected one issued by the subject of cabundle[{i - 1}], got another issuer"
            )


def _verify_path(leaf: x509.Certificate, authorities: list[x509.Certificate], at: datetime) -> None:
    root, *intermediates = authorities
    verifier = (
        PolicyBuilder()
        .store(Store([root]))
        .time(at)
        .max_chain_depth(MAX_CABUNDLE_CERTIFICATES)
        # the library's own policies are the web's: they want subject alternative names, which Nitro's leaf has not
        .extension_policies(
            ca_policy=ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.CRITICAL, None),
            ee_policy=ExtensionPolicy.permit_all(),
        )
        .build_client_verifier()
    )
    try:
        path = verifier.verify(leaf, intermediates).chain
    except (VerificationError, ValueError) as error:
        why = quoted(str(error), MAX_LIBRARY_CHARS)  # may end in text of the certificate
        raise AttestationError(
            "cabundle", f"expected a path from the root to the certificate, got none: {why}"
        ) from None
    if path != [leaf, *reversed(authorities)]:
        raise AttestationError("cabundle", "expected every certificate in the path, got some that are not needed")


def _text(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
