"""What an error says about the host that answers instead of KMS."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from enclave_tool.errors import KmsUnreachableError, TlsError
from enclave_tool.kms.options import KmsOptions
from enclave_tool.kms.tls import load_trust, with_name_of_peer
from nitro_simulator.pki.tls import TlsAuthority
from vsock_wire.errors import ToolError
from vsock_wire.net.address import UnixAddress
from vsock_wire.net.sockets import listen_socket

WANTED = "kms.eu-west-1.amazonaws.com"
ERROR = TlsError("TLS: certificate rejected: Hostname mismatch", wrong_host=WANTED, hint="as it was")


@pytest.fixture(scope="module")
def authority() -> TlsAuthority:
    return TlsAuthority.create()


@pytest.fixture
def options(authority: TlsAuthority, tmp_path: Path, short_dir: Path) -> KmsOptions:
    (tmp_path / "ca.pem").write_bytes(authority.ca_pem)
    proxy = UnixAddress(str(short_dir / "proxy"))
    return load_trust(KmsOptions(proxy=proxy, ca_file=tmp_path / "ca.pem", connect_timeout_s=5.0))


@contextmanager
def peer(options: KmsOptions, authority: TlsAuthority, *names: str) -> Iterator[list[bytes]]:
    """Serve one TLS connection with a certificate for these names; yield what was received over TLS."""
    context = authority.server_certificate(*names).ssl_context()
    received: list[bytes] = []
    with listen_socket(options.proxy_address) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                received.append(tls.recv(100))

        thread = threading.Thread(target=serve)
        thread.start()
        yield received
        thread.join()


def test_name_in_the_certificate_is_shown_and_nothing_is_sent(options: KmsOptions, authority: TlsAuthority) -> None:
    with peer(options, authority, "kms.us-east-1.amazonaws.com", "*.kms.us-east-1.vpce.amazonaws.com") as received:
        error = with_name_of_peer(ERROR, options)
    assert isinstance(error, TlsError)
    names = "kms.us-east-1.amazonaws.com, *.kms.us-east-1.vpce.amazonaws.com"
    assert str(error) == f"{ERROR}; the proxy leads to {names}"
    assert (error.hint or "").startswith("choose the region of the host that the proxy leads to")
    assert b"".join(received) == b""  # nothing at all if the server noticed the end while it shook hands


def test_peer_that_cannot_prove_its_name_changes_nothing(options: KmsOptions) -> None:
    with peer(options, TlsAuthority.create("another"), "kms.us-east-1.amazonaws.com"):
        assert with_name_of_peer(ERROR, options) is ERROR


def test_certificate_without_a_host_name_changes_nothing(options: KmsOptions, authority: TlsAuthority) -> None:
    with peer(options, authority, "127.0.0.1"):
        assert with_name_of_peer(ERROR, options) is ERROR


def test_proxy_that_has_gone_changes_nothing(options: KmsOptions) -> None:
    assert with_name_of_peer(ERROR, options) is ERROR


@pytest.mark.parametrize("error", [TlsError("unknown authority"), KmsUnreachableError("start TLS with", "x", "closed")])
def test_other_errors_are_returned_without_a_connection(options: KmsOptions, error: ToolError) -> None:
    assert with_name_of_peer(error, options) is error
