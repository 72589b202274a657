"""Verify the certificates of an attestation document, from the pinned root to the key that signed it (pure).

``cryptography`` builds and checks the path (signatures, names, path lengths, critical extensions). This module first
checks what the library leaves to its caller, and what deserves an error that names the certificate.
Source: "Nitro Enclaves Attestation Process" of aws-nitro-enclaves-nsm-api, section 3.2.3; RFC 5280.
"""

from __future__ import annotations

import hashlib
import itertools
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import SignatureAlgorithmOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from nitro_attestation.document.certificates import parse_certificate
from nitro_attestation.document.times import moment_text, slow_clock_hint
from nitro_attestation.errors import AttestationError
from nitro_attestation.quoting import quoted

MAX_CABUNDLE_CERTIFICATES = 8
"""Maximum number of certificates above the leaf, which bounds the work for a hostile bundle. AWS's chains have 4."""
MAX_LIBRARY_CHARS = 160
"""Maximum number of characters of the library's own error that an error quotes."""


def verify_chain(
    certificate_der: bytes,
    cabundle_der: tuple[bytes, ...],
    *,
    root_sha256: bytes,
    at: datetime,
    leeway: timedelta = timedelta(0),
) -> ec.EllipticCurvePublicKey:
    """Verify that the certificates form a chain from the pinned root to the leaf, in the document's order.

    Does not check revocation.

    Args:
        certificate_der: the leaf.
        cabundle_der: at least one certificate, root first.
        root_sha256: SHA-256 of the root certificate's DER, 32 bytes.
        at: the time at which all of them must be valid, with a time zone.
        leeway: how long after ``at`` a certificate may become valid, to tolerate a slow clock.

    Returns:
        The leaf's key, on P-384.

    Raises:
        AttestationError: the root is not the pinned one; or a certificate cannot be parsed, is not valid at that time,
            does not use P-384 and SHA-384, has the wrong type for its place, or is not signed by the one above it.
    """
    _check_root(cabundle_der[0], root_sha256)
    if len(cabundle_der) > MAX_CABUNDLE_CERTIFICATES:
        raise AttestationError(
            "cabundle", f"expected at most {MAX_CABUNDLE_CERTIFICATES} certificates, got {len(cabundle_der)}"
        )
    authorities = [parse_certificate(f"cabundle[{i}]", der) for i, der in enumerate(cabundle_der)]
    leaf = parse_certificate("certificate", certificate_der)
    for i, authority in enumerate(authorities):
        _check_validity(f"cabundle[{i}]", authority, at, leeway)
        _check_algorithms(f"cabundle[{i}]", authority)
        _check_authority(f"cabundle[{i}]", authority)
    _check_validity("certificate", leaf, at, leeway)
    key = _check_algorithms("certificate", leaf)
    _check_leaf(leaf)
    chain = [*authorities, leaf]
    _check_order(chain)
    _verify_path(leaf, authorities, max(at, *(certificate.not_valid_before_utc for certificate in chain)))
    return key


def _check_root(root_der: bytes, root_sha256: bytes) -> None:
    got = hashlib.sha256(root_der).digest()
    if got != root_sha256:
        raise AttestationError(
            "cabundle[0]",
            f"expected the root certificate with SHA-256 {root_sha256.hex()}, got {got.hex()}",
            hint="documents made by the simulator have the simulator's root, and AWS's documents have AWS's",
        )


def _check_validity(field: str, certificate: x509.Certificate, at: datetime, leeway: timedelta) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if at <= end and start - at <= leeway:
        return
    slow_by = start - at if at < start else None
    raise AttestationError(
        field,
        f"expected a certificate valid at {moment_text(at)}, got one valid from {moment_text(start)} to"
        f" {moment_text(end)}",
        hint=None if slow_by is None else slow_clock_hint(slow_by),
        slow_by=slow_by,
    )


def _check_algorithms(field: str, certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """Require a P-384 key and ecdsa-with-SHA384, as in all of AWS's certificates, and return the key."""
    key = certificate.public_key()
    if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)):
        raise AttestationError(field, "the key is not on the curve P-384")
    if certificate.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA384:
        oid = certificate.signature_algorithm_oid.dotted_string
        raise AttestationError(field, f"expected a signature with ecdsa-with-SHA384, got {oid}")
    return key


def _check_authority(field: str, certificate: x509.Certificate) -> None:
    if not _is_ca(certificate):
        raise AttestationError(field, "not a CA certificate (basicConstraints)")
    usage = _key_usage(certificate)
    if usage is None or not usage.key_cert_sign:
        raise AttestationError(field, "the key may not sign certificates (keyUsage)")


def _check_leaf(certificate: x509.Certificate) -> None:
    if _is_ca(certificate):
        raise AttestationError("certificate", "a CA certificate, but it must be an end entity's (basicConstraints)")
    usage = _key_usage(certificate)
    if usage is None or not usage.digital_signature or usage.key_cert_sign:
        raise AttestationError("certificate", "the key is not for digital signatures only (keyUsage)")


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
            raise AttestationError(field, f"not issued by the subject of cabundle[{i - 1}]")


def _verify_path(leaf: x509.Certificate, authorities: list[x509.Certificate], at: datetime) -> None:
    root, *intermediates = authorities
    verifier = (
        PolicyBuilder()
        .store(Store([root]))
        .time(at)
        .max_chain_depth(MAX_CABUNDLE_CERTIFICATES)
        # the library's default policies are for the web: they require subject alternative names, which the leaf lacks
        .extension_policies(
            ca_policy=ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.CRITICAL, None),
            ee_policy=ExtensionPolicy.permit_all(),
        )
        .build_client_verifier()
    )
    try:
        path = verifier.verify(leaf, intermediates).chain
    except (VerificationError, ValueError) as error:
        why = quoted(str(error), MAX_LIBRARY_CHARS)  # may contain text of the certificate
        raise AttestationError("cabundle", f"no valid path from the root to the certificate: {why}") from None
    if path != [leaf, *reversed(authorities)]:
        raise AttestationError("cabundle", "some certificates are not part of the path")
