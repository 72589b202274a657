from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from botocore.exceptions import (
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)

from enclave_tool.kms.connection import MAX_KMS_ANSWER_BYTES
from enclave_tool.kms.tls import tls_context
from tests.support.kms import proxy_sessions
from tests.support.kms.canned_kms import Answer, Call, CannedKms, ThrowawayAuthority
from tests.support.kms.proxy_sessions import HOST, ByPool, BySession, Session, fetch, new_session
from vsock_wire.errors import InputError, TransportError
from vsock_wire.net.address import UnixAddress
from vsock_wire.net.sockets import listen_socket


@pytest.fixture
def bundle(authority: ThrowawayAuthority, tmp_path: Path) -> str:
    return str(authority.write_bundle(tmp_path / "authority.pem"))


@pytest.fixture(autouse=True, params=[BySession, ByPool])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test of this file with both, because they must behave alike."""
    monkeypatch.setattr(proxy_sessions, "way", request.param)


@pytest.fixture
def session(kms: CannedKms, bundle: str) -> Iterator[Session]:
    with new_session(kms.address, tls_context(bundle)) as session:
        yield session


def accept_and_close(listener: socket.socket) -> None:
    sock, _ = listener.accept()
    sock.close()


@contextmanager
def serving(folder: Path, tls: ssl.SSLContext | None) -> Iterator[CannedKms]:
    with CannedKms(UnixAddress(str(folder / "other")), tls) as server:
        yield server


class TestVerifiedPeer:
    def test_request_goes_through_the_proxys_address(self, session: Session, kms: CannedKms) -> None:
        assert fetch(session) == (200, b"{}")
        assert kms.calls[0].headers["host"] == HOST
        assert kms.server_names == [HOST]

    def test_connection_is_kept_for_fifty_requests(self, session: Session, kms: CannedKms) -> None:
        for _ in range(50):
            assert fetch(session)[0] == 200
        assert (kms.connections, len(kms.calls)) == (1, 50)

    def test_kept_connection_that_was_closed_is_replaced(self, session: Session, kms: CannedKms) -> None:
        fetch(session)
        kms.drop_connections()
        while True:  # the close of the other end may take a moment to arrive; until then, a request fails
            try:
                assert fetch(session)[0] == 200
                break
            except ConnectionClosedError:
                continue
        assert kms.connections == 2

    def test_authority_is_read_once_and_not_for_every_connection(
        self, session: Session, kms: CannedKms, bundle: str
    ) -> None:
        Path(bundle).unlink()
        assert fetch(session)[0] == 200
        assert kms.calls

    def test_redirect_elsewhere_is_not_followed(self, session: Session, kms: CannedKms) -> None:
        kms.answer = lambda _: Answer(b"", 307, {"Location": "https://elsewhere.example/"})
        assert fetch(session)[0] == 307
        assert len(kms.calls) == 1


class TestRefusedPeer:
    def test_certificate_for_another_host(self, session: Session, kms: CannedKms) -> None:
        with pytest.raises(SSLError, match="Hostname mismatch"):
            fetch(session, "https://kms.eu-west-1.amazonaws.com/")
        assert kms.calls == []

    def test_certificate_of_another_authority(self, kms: CannedKms, tmp_path: Path) -> None:
        other = ThrowawayAuthority().write_bundle(tmp_path / "other.pem")
        with (
            new_session(kms.address, tls_context(str(other))) as session,
            pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"),
        ):
            fetch(session)
        assert kms.calls == []

    def test_certificate_of_no_public_authority(self, kms: CannedKms) -> None:
        with (
            new_session(kms.address, tls_context()) as session,
            pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"),
        ):
            fetch(session)
        assert kms.calls == []

    def test_tls_1_1(self, short_dir: Path, authority: ThrowawayAuthority, bundle: str) -> None:
        context = authority.server_context(HOST)
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = ssl.TLSVersion.TLSv1_1
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with serving(short_dir, context) as server, new_session(server.address, tls_context(bundle)) as session:
            with pytest.raises(SSLError, match=r"(?i)version|protocol"):
                fetch(session)
            assert server.calls == []

    @pytest.mark.parametrize(
        "answer", [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", b"SSH-2.0-x\r\n", b""]
    )
    def test_peer_that_does_not_speak_tls(self, short_dir: Path, bundle: str, answer: bytes) -> None:
        address = UnixAddress(str(short_dir / "p"))

        def serve(listener: socket.socket) -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(65_536)
                sock.sendall(answer)

        with listen_socket(address) as listener, new_session(address, tls_context(bundle)) as session:
            thread = threading.Thread(target=serve, args=(listener,))
            thread.start()
            with pytest.raises((SSLError, ConnectionClosedError)):
                fetch(session)
            thread.join()

    def test_peer_that_closes_at_once(self, short_dir: Path, bundle: str) -> None:
        address = UnixAddress(str(short_dir / "p"))
        with listen_socket(address) as listener, new_session(address, tls_context(bundle)) as session:
            thread = threading.Thread(target=accept_and_close, args=(listener,))
            thread.start()
            with pytest.raises((SSLError, ConnectionClosedError)):
                fetch(session)
            thread.join()

    def test_nothing_listening_carries_the_reason(self, short_dir: Path, bundle: str) -> None:
        with (
            new_session(UnixAddress(str(short_dir / "nobody")), tls_context(bundle)) as session,
            pytest.raises(EndpointConnectionError) as caught,
        ):
            fetch(session)
        cause = caught.value.kwargs["error"].__cause__
        assert isinstance(cause, TransportError)
        assert "no such file or directory" in str(cause)

    def test_silent_peer_ends_after_the_read_timeout(self, kms: CannedKms, bundle: str) -> None:
        is_over = threading.Event()

        def wait(_call: Call) -> None:
            is_over.wait(5)

        kms.answer = wait
        with new_session(kms.address, tls_context(bundle), read_timeout_s=0.1) as session:
            with pytest.raises(ReadTimeoutError):
                fetch(session)
            is_over.set()

    def test_plain_http_url_has_no_way_out(self, session: Session, kms: CannedKms) -> None:
        with pytest.raises((HTTPClientError, KeyError)):
            fetch(session, f"http://{HOST}/")
        assert kms.connections == 0


class TestSizeOfAnswers:
    def test_largest_answer_is_read(self, session: Session, kms: CannedKms) -> None:
        kms.answer = lambda _: Answer(b"x" * MAX_KMS_ANSWER_BYTES)
        assert fetch(session) == (200, b"x" * MAX_KMS_ANSWER_BYTES)

    def test_content_length_over_the_limit_is_refused_before_the_body(self, session: Session, kms: CannedKms) -> None:
        kms.answer = lambda _: Answer(b"", headers={"Content-Length": str(MAX_KMS_ANSWER_BYTES + 1)})
        with pytest.raises(HTTPClientError, match=r"read response from .*: larger than 131072 bytes"):
            fetch(session)

    def test_endless_chunks_are_refused_at_the_limit_and_the_next_request_is_served(
        self, session: Session, kms: CannedKms
    ) -> None:
        body = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
        chunked = {"Transfer-Encoding": "chunked"}
        kms.answer = lambda _: _Unsized(body * (MAX_KMS_ANSWER_BYTES // 0x1000 + 16), headers=chunked)
        with pytest.raises(HTTPClientError, match=r"read response from .*: larger than 131072 bytes"):
            fetch(session)
        kms.answer = lambda _: Answer({})
        assert fetch(session) == (200, b"{}")
        assert kms.connections == 2

    def test_one_chunk_of_any_size_is_refused_at_the_limit(self, session: Session, kms: CannedKms) -> None:
        kms.answer = lambda _: _Unsized(b"7fffffff\r\n" + b"x" * 500_000, headers={"Transfer-Encoding": "chunked"})
        with pytest.raises(HTTPClientError, match=r"read response from .*: larger than 131072 bytes"):
            fetch(session)


class _Unsized(Answer):
    """A response without a Content-Length."""

    def to_http(self) -> bytes:
        head, _, body = super().to_http().partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
        return b"\r\n".join(lines) + b"\r\n\r\n" + body


class TestNegotiation:
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_server_that_offers_session_resumption_is_verified_on_each_connection(
        self, short_dir: Path, authority: ThrowawayAuthority, bundle: str, version: ssl.TLSVersion
    ) -> None:
        """No session is kept, so an earlier one cannot replace the check of a certificate."""
        context = authority.server_context(HOST)
        context.minimum_version = context.maximum_version = version
        with serving(short_dir, context) as server, new_session(server.address, tls_context(bundle)) as session:
            for _ in range(2):
                fetch_until_answered(session)
                server.drop_connections()
            assert server.connections >= 2
            assert context.session_stats()["hits"] == 0
            assert context.session_stats()["accept_good"] >= 2

    def test_server_that_supports_http_2_gets_http_1_1(
        self, short_dir: Path, authority: ThrowawayAuthority, bundle: str
    ) -> None:
        context = authority.server_context(HOST)
        context.set_alpn_protocols(["h2", "http/1.1"])
        with serving(short_dir, context) as server, new_session(server.address, tls_context(bundle)) as session:
            assert fetch(session) == (200, b"{}")
            assert b" HTTP/1.1\r\n" in server.calls[0].raw

    def test_server_that_speaks_http_2_only_is_an_error(
        self, short_dir: Path, authority: ThrowawayAuthority, bundle: str
    ) -> None:
        context = authority.server_context(HOST)
        context.set_alpn_protocols(["h2"])
        with (
            serving(short_dir, context) as server,
            # A client that waits for the end of a line waits until its timeout.
            new_session(server.address, tls_context(bundle), read_timeout_s=0.5) as session,
        ):
            server.answer = lambda _: _HttpTwoSettings(b"")
            with pytest.raises((SSLError, ConnectionClosedError, HTTPClientError)):
                fetch(session)


class _HttpTwoSettings(Answer):
    """The first frame of an HTTP/2 server (RFC 9113, section 3.4)."""

    def to_http(self) -> bytes:
        return b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def fetch_until_answered(session: Session) -> None:
    while True:  # a kept connection's end may not have arrived yet
        try:
            assert fetch(session)[0] == 200
            return
        except ConnectionClosedError:
            continue


class TestEnvironment:
    @pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"])
    def test_proxy_of_the_environment_has_no_effect(
        self, kms: CannedKms, bundle: str, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        with new_session(kms.address, tls_context(bundle)) as session:
            assert fetch(session)[0] == 200

    @pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"])
    def test_authority_of_the_environment_is_not_trusted(
        self, kms: CannedKms, bundle: str, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setenv(name, bundle)
        with new_session(kms.address, tls_context()) as session, pytest.raises(SSLError):
            fetch(session)

    def test_authority_folder_of_the_environment_is_not_trusted(
        self, kms: CannedKms, bundle: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_DIR", str(Path(bundle).parent))
        with new_session(kms.address, tls_context()) as session, pytest.raises(SSLError):
            fetch(session)

    def test_tls_secrets_are_not_written_where_the_environment_says(
        self, kms: CannedKms, bundle: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
        with new_session(kms.address, tls_context(bundle)) as session:
            assert fetch(session)[0] == 200
        assert not (tmp_path / "keys").exists()


class TestTlsContext:
    def test_checks_certificate_and_host_name_and_version(self, bundle: str) -> None:
        for context in (tls_context(), tls_context(bundle)):
            assert context.verify_mode is ssl.CERT_REQUIRED
            assert context.check_hostname
            assert context.minimum_version is ssl.TLSVersion.TLSv1_2

    def test_trusts_the_given_bundle_only(self, bundle: str) -> None:
        assert len(tls_context(bundle).get_ca_certs()) == 1
        assert len(tls_context().get_ca_certs()) > 20

    @pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
    def test_bundle_without_a_certificate_is_a_usage_error(self, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / "bundle.pem"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=r"^CA bundle .*: cannot read PEM certificates: ") as caught:
            tls_context(str(path))
        assert str(path) in str(caught.value)

    def test_folder_for_a_bundle_is_a_usage_error(self, tmp_path: Path) -> None:
        with pytest.raises(InputError):
            tls_context(os.fspath(tmp_path))
