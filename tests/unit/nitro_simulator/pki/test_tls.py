from __future__ import annotations

import ssl

import pytest
from cryptography import x509

from nitro_simulator.pki.tls import ServerTls, TlsAuthority


def _handshake(server: ServerTls, ca_pem: bytes, host: str) -> None:
    """Do a whole handshake in memory, with Python's strictest verification."""
    context = ssl.create_default_context(cadata=ca_pem.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = context.wrap_bio(to_client, to_server, server_hostname=host)
    server_side = server.ssl_context().wrap_bio(to_server, to_client, server_side=True)
    sides = [client_side, server_side]
    while sides:
        for side in list(sides):
            try:
                side.do_handshake()
                sides.remove(side)
            except ssl.SSLWantReadError:
                pass


@pytest.fixture(scope="module")
def authority() -> TlsAuthority:
    return TlsAuthority.create()


@pytest.mark.parametrize("host", ["kms.us-east-1.amazonaws.com", "localhost", "127.0.0.1", "::1"])
def test_client_accepts_every_name_of_the_certificate(authority: TlsAuthority, host: str) -> None:
    server = authority.server_certificate("kms.us-east-1.amazonaws.com", "localhost", "127.0.0.1", "::1")

    _handshake(server, authority.ca_pem, host)


def test_client_refuses_another_host(authority: TlsAuthority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        _handshake(authority.server_certificate("localhost"), authority.ca_pem, "kms.us-east-1.amazonaws.com")


def test_client_refuses_another_ca_even_of_the_same_name(authority: TlsAuthority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(authority.server_certificate("localhost"), TlsAuthority.create().ca_pem, "localhost")


def test_server_certificate_is_not_a_ca(authority: TlsAuthority) -> None:
    certificate = x509.load_pem_x509_certificate(authority.server_certificate("localhost").certificate_pem)

    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_long_host_name_works(authority: TlsAuthority) -> None:
    host = f"{'a' * 60}.{'b' * 60}.example.com"

    _handshake(authority.server_certificate(host), authority.ca_pem, host)


def test_repr_shows_no_private_key(authority: TlsAuthority) -> None:
    assert "PRIVATE" not in repr(authority.server_certificate("localhost"))
