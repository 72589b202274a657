"""A throwaway TLS authority: a CA, and server certificates for any host names."""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from nitro_simulator.clock import utc_now
from nitro_simulator.pki.certificates import certificate_builder, distinguished_name, key_usage

VALIDITY = timedelta(days=30)
BACKDATING = timedelta(hours=1)
"""Lets a client with a slightly slow clock connect."""


@dataclass(frozen=True)
class ServerTls:
    """The certificate and key of a TLS server.

    Attributes:
        certificate_pem: the server's certificate.
        private_key_pem: its key, unencrypted.
    """

    certificate_pem: bytes
    private_key_pem: bytes = field(repr=False)

    def ssl_context(self) -> ssl.SSLContext:
        """Return a context for server sockets; while loading, the key is on disk, readable by the user only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with tempfile.TemporaryDirectory(prefix="kmstool-sim-") as directory:
            path = Path(directory, "server.pem")
            path.touch(mode=0o600)
            path.write_bytes(self.private_key_pem + self.certificate_pem)
            context.load_cert_chain(path)
        return context


class TlsAuthority:
    """A certificate authority that lives as long as the object. Use ``create`` to make one."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate

    @classmethod
    def create(cls, name: str = "kmstool-sim TLS CA") -> Self:
        """Create a new authority with its own key; clients trust it only if they are given its ``ca_pem``."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = distinguished_name(name)
        builder = _builder(subject, subject, key.public_key(), key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    @property
    def ca_pem(self) -> bytes:
        """The authority's certificate, for a client's CA file."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def server_certificate(self, *host_names: str) -> ServerTls:
        """Issue a server certificate.

        Args:
            host_names: DNS names and IP addresses, at least one.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(
            distinguished_name(host_names[0]), self._certificate.subject, key.public_key(), self._key.public_key()
        )
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in host_names]), critical=False
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(key_usage(digital_signature=True), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return ServerTls(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, issuer_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = utc_now()
    builder = certificate_builder(
        subject=subject,
        issuer=issuer,
        public_key=public_key,
        not_before=now - BACKDATING,
        not_after=now + VALIDITY,
    )
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    return builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
