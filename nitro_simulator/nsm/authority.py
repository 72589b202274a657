"""A throwaway authority modeled on AWS's attestation PKI, and the documents signed under it.

Nobody else trusts it: a verifier must be given the SHA-256 of its root. Keys exist in memory only.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from nitro_simulator.clock import utc_now
from nitro_simulator.pki.certificates import certificate_builder, distinguished_name, key_usage

AUTHORITY_LIFETIME = timedelta(days=365)
"""Lifetime of every CA certificate, and so of the authority: only leaves are renewed. AWS's root is valid for 30 years
and the CAs below it for 20 days, 6 days and 1 day."""
LEAF_LIFETIME = timedelta(hours=3)
"""As seen in real documents."""
LEAF_RENEWAL_MARGIN = timedelta(minutes=5)
"""A leaf with less time left is replaced, so that a document can still be verified for a while."""
CLOCK_SKEW = timedelta(seconds=3)
"""Certificates are valid from this long before their creation, as seen in real leaves."""

COSE_PROTECTED_ES384 = cbor2.dumps({1: -35})
COSE_COORDINATE_BYTES = 48

_REGION = "us-east-1"
_INTERMEDIATES = (
    (f"0123456789abcdef.{_REGION}.sim.nitro-enclaves", 2),
    (f"fedcba9876543210.zonal.{_REGION}.sim.nitro-enclaves", 1),
    (f"i-00000000000000000.{_REGION}.sim.nitro-enclaves", 0),
)
"""Common name and path length of a regional, a zonal and an instance CA, as in real documents."""


@dataclass(frozen=True)
class Leaf:
    """A short-lived certificate and its key: what a Nitro hypervisor signs one enclave's documents with."""

    certificate_der: bytes
    not_before: datetime
    not_after: datetime
    private_key: ec.EllipticCurvePrivateKey = field(repr=False)

    def sign(self, payload: bytes) -> bytes:
        """Return ``payload`` as an untagged COSE_Sign1 with ES384 (RFC 9052 section 4.4)."""
        signed = cbor2.dumps(["Signature1", COSE_PROTECTED_ES384, b"", payload])
        r, s = decode_dss_signature(self.private_key.sign(signed, ec.ECDSA(hashes.SHA384())))
        signature = r.to_bytes(COSE_COORDINATE_BYTES, "big") + s.to_bytes(COSE_COORDINATE_BYTES, "big")
        return cbor2.dumps([COSE_PROTECTED_ES384, {}, payload, signature])


class AttestationAuthority:
    """Root and intermediate CAs modeled on AWS's, and a leaf for every module, renewed when it expires.

    Thread-safe. Use ``create`` to make one.
    """

    def __init__(
        self, cabundle: tuple[x509.Certificate, ...], issuer_key: ec.EllipticCurvePrivateKey, leaf_lifetime: timedelta
    ) -> None:
        self._cabundle = cabundle
        self._issuer_key = issuer_key
        self._leaf_lifetime = leaf_lifetime
        self._leaves: dict[str, Leaf] = {}
        self._lock = threading.Lock()

    @classmethod
    def create(cls, *, at: datetime | None = None, leaf_lifetime: timedelta = LEAF_LIFETIME) -> Self:
        """Create a root and three intermediate CAs, P-384 with ecdsa-with-SHA384.

        Args:
            at: when their validity starts; None for now.
            leaf_lifetime: lifetime of leaves; more than LEAF_RENEWAL_MARGIN.
        """
        if leaf_lifetime <= LEAF_RENEWAL_MARGIN:
            raise ValueError(f"leaf_lifetime: expected more than {LEAF_RENEWAL_MARGIN}, got {leaf_lifetime}")
        now = utc_now() if at is None else at
        key = ec.generate_private_key(ec.SECP384R1())
        chain = [_root_certificate(key, now)]
        for common_name, path_length in _INTERMEDIATES:
            subject_key = ec.generate_private_key(ec.SECP384R1())
            builder = _intermediate_builder(common_name, path_length, subject_key, chain[-1].subject, now)
            chain.append(builder.sign(key, hashes.SHA384()))
            key = subject_key
        return cls(tuple(chain), key, leaf_lifetime)

    @property
    def root_sha256(self) -> bytes:
        """SHA-256 of the root's DER, for verifiers to pin."""
        return hashlib.sha256(self.cabundle_der[0]).digest()

    @property
    def root_pem(self) -> bytes:
        """The root certificate."""
        return self._cabundle[0].public_bytes(Encoding.PEM)

    @property
    def cabundle_der(self) -> tuple[bytes, ...]:
        """All CA certificates, root first."""
        return tuple(certificate.public_bytes(Encoding.DER) for certificate in self._cabundle)

    def leaf_for(self, module_id: str, at: datetime) -> Leaf:
        """Return the leaf of one module, or a new one if it is not valid at that time or expires soon after."""
        with self._lock:
            leaf = self._leaves.get(module_id)
            if leaf is None or not leaf.not_before <= at <= leaf.not_after - LEAF_RENEWAL_MARGIN:
                leaf = self._leaves[module_id] = self._issue_leaf(module_id, at)
            return leaf

    def _issue_leaf(self, module_id: str, at: datetime) -> Leaf:
        key = ec.generate_private_key(ec.SECP384R1())
        issuer = self._cabundle[-1]
        certificate = (
            _builder(f"{module_id}.{_REGION}.sim", key, issuer.subject, at, self._leaf_lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(digital_signature=True, content_commitment=True), critical=False)
            .sign(self._issuer_key, hashes.SHA384())
        )
        return Leaf(
            certificate.public_bytes(Encoding.DER),
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
            key,
        )


def _root_certificate(key: ec.EllipticCurvePrivateKey, at: datetime) -> x509.Certificate:
    common_name = "sim.nitro-enclaves"
    return (
        _builder(common_name, key, _name(common_name), at, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(key_usage(digital_signature=True, key_cert_sign=True, crl_sign=True), critical=True)
        .sign(key, hashes.SHA384())
    )


def _intermediate_builder(
    common_name: str, path_length: int, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, at: datetime
) -> x509.CertificateBuilder:
    return (
        _builder(common_name, key, issuer, at, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage(key_cert_sign=True), critical=True)
    )


def _builder(
    common_name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, at: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return certificate_builder(
        subject=_name(common_name),
        issuer=issuer,
        public_key=key.public_key(),
        not_before=at - CLOCK_SKEW,
        not_after=at + lifetime,
    )


def _name(common_name: str) -> x509.Name:
    return distinguished_name(common_name, organization="kmstool simulator")
