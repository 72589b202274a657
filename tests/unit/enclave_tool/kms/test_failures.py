from __future__ import annotations

import ssl
from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ParamValidationError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.exceptions import NewConnectionError
from urllib3.exceptions import SSLError as Urllib3SslError

from enclave_tool.errors import KmsError, KmsUnreachableError, ProxyUnreachableError, TlsError
from enclave_tool.kms.clock_skew import CLOCK_OFFSET
from enclave_tool.kms.failures import MAX_KMS_TEXT_CHARS, kms_failure
from vsock_wire.errors import ExitCode, ToolError, TransportError, TunnelError
from vsock_wire.net.address import VsockAddress

PROXY = VsockAddress(3, 8000)
URL = "https://kms.us-east-1.amazonaws.com/"


def client_error(code: str, text: str | None = None, **metadata: object) -> ClientError:
    error = {"Code": code} if text is None else {"Code": code, "Message": text}
    response: Any = {"Error": error, "ResponseMetadata": metadata}
    return ClientError(response, "Decrypt")


def ssl_error(original: Exception | str) -> SSLError:
    return SSLError(endpoint_url=URL, error=Urllib3SslError(original))


class TestRefusals:
    def test_everything_in_kmss_response_is_kept(self) -> None:
        failure = kms_failure(
            client_error("AccessDeniedException", "User: x is not authorized", HTTPStatusCode=400, RequestId="r-1"),
            PROXY,
        )
        assert isinstance(failure, KmsError)
        assert (failure.code, failure.text) == ("AccessDeniedException", "User: x is not authorized")
        assert (failure.http_status, failure.request_id) == (400, "r-1")
        assert str(failure) == "AccessDeniedException: User: x is not authorized"
        assert "PCR0" in (failure.hint or "")

    @pytest.mark.parametrize("text", [None, ""])
    def test_refusal_without_a_text_is_its_code(self, text: str | None) -> None:
        failure = kms_failure(client_error("InvalidCiphertextException", text), PROXY)
        assert str(failure) == "InvalidCiphertextException"
        assert "encryption context" in (failure.hint or "")

    def test_refusal_without_any_fields_is_still_an_error(self) -> None:
        failure = kms_failure(ClientError({}, "Decrypt"), PROXY)
        assert isinstance(failure, KmsError)
        assert (failure.code, failure.http_status, failure.request_id) == ("Unknown", None, None)

    def test_long_texts_and_terminal_escapes_of_the_peer_are_removed(self) -> None:
        failure = kms_failure(client_error("Bad\x1b[2J", "\n" + "A" * 100_000), PROXY)
        assert str(failure).isprintable()
        assert len(str(failure)) < MAX_KMS_TEXT_CHARS + 100

    def test_long_code_is_truncated_as_well(self) -> None:
        assert len(str(kms_failure(client_error("A" * 100_000), PROXY))) < MAX_KMS_TEXT_CHARS

    @pytest.mark.parametrize(
        "code",
        ["ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException", "NotFoundException"],
    )
    def test_common_refusals_have_a_hint(self, code: str) -> None:
        assert kms_failure(client_error(code), PROXY).hint

    @pytest.mark.parametrize(
        ("offset_s", "words"),
        [
            (None, "differs from KMS's by more than 5 minutes"),
            (-300, "differs from KMS's by more than 5 minutes"),
            (1, "differs from KMS's by more than 5 minutes"),
            (301, "the enclave's clock is 301 s behind KMS's"),
            (-9_000, "the enclave's clock is 9000 s ahead of KMS's"),
        ],
    )
    def test_offset_of_the_clock_is_in_the_hint_if_it_explains_the_refusal(
        self, offset_s: int | None, words: str
    ) -> None:
        metadata = {} if offset_s is None else {CLOCK_OFFSET: offset_s}
        failure = kms_failure(client_error("InvalidSignatureException", "Signature expired: x", **metadata), PROXY)
        assert words in (failure.hint or "")

    def test_unknown_refusal_has_none(self) -> None:
        assert kms_failure(client_error("SomethingNewException"), PROXY).hint is None


class TestProxy:
    def test_reason_of_the_dialler_is_given_once(self) -> None:
        dialled = TransportError("connect to", PROXY, "connection reset by peer", hint="x")
        cause = NewConnectionError(None, str(dialled))  # type: ignore[arg-type]
        cause.__cause__ = dialled
        failure = kms_failure(EndpointConnectionError(endpoint_url=URL, error=cause), PROXY)
        assert isinstance(failure, ProxyUnreachableError)
        assert str(failure) == "connect to proxy vsock://3:8000: connection reset by peer"
        assert failure.exit_code is ExitCode.UNREACHABLE
        assert "vsock-proxy" in (failure.hint or "")

    @pytest.mark.parametrize("kind", [EndpointConnectionError, ConnectTimeoutError])
    def test_without_a_cause_it_is_a_timeout(self, kind: type[EndpointConnectionError]) -> None:
        failure = kms_failure(kind(endpoint_url=URL), PROXY)
        assert str(failure) == "connect to proxy vsock://3:8000: no answer in time"

    def test_refusal_of_a_proxy_that_was_reached_is_shown_as_it_is(self) -> None:
        refused = TunnelError("connect to x:443 through proxy", PROXY, "403: not allowed", hint="edit the file")
        cause = NewConnectionError(None, str(refused))  # type: ignore[arg-type]
        cause.__cause__ = refused
        failure = kms_failure(EndpointConnectionError(endpoint_url=URL, error=cause), PROXY)
        assert isinstance(failure, KmsUnreachableError)
        assert (str(failure), failure.hint) == (str(refused), "edit the file")


class TestTls:
    def test_refused_certificate_names_host_and_reason(self) -> None:
        original = ssl.SSLCertVerificationError(1, "certificate verify failed")
        original.verify_message = "Hostname mismatch, certificate is not valid for 'kms.us-east-1.amazonaws.com'."
        failure = kms_failure(ssl_error(original), PROXY)
        assert isinstance(failure, TlsError)
        assert str(failure) == (
            "TLS with kms.us-east-1.amazonaws.com: certificate rejected:"
            " Hostname mismatch, certificate is not valid for 'kms.us-east-1.amazonaws.com'"
        )

    @pytest.mark.parametrize(
        "original",
        [ssl.SSLEOFError(8, "EOF occurred"), ssl.SSLZeroReturnError(6, "closed"), ConnectionResetError(104, "x")],
    )
    def test_connection_closed_in_the_handshake_means_that_kms_is_unreachable(self, original: Exception) -> None:
        failure = kms_failure(ssl_error(original), PROXY)
        assert isinstance(failure, KmsUnreachableError)
        assert "allowlist" in (failure.hint or "")

    @pytest.mark.parametrize(
        "original", [ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "odd\x1b"]
    )
    def test_other_protocol_is_a_tls_error(self, original: Exception | str) -> None:
        failure = kms_failure(ssl_error(original), PROXY)
        assert isinstance(failure, TlsError)
        assert str(failure).isprintable()

    def test_tls_error_without_a_cause_is_still_an_error(self) -> None:
        assert isinstance(kms_failure(SSLError(endpoint_url=URL, error=Exception()), PROXY), ToolError)


class TestOthers:
    @pytest.mark.parametrize(
        "error",
        [
            ReadTimeoutError(endpoint_url=URL),
            ConnectionClosedError(endpoint_url=URL),
        ],
    )
    def test_failure_behind_the_proxy_means_that_kms_is_unreachable(self, error: BotoCoreError) -> None:
        failure = kms_failure(error, PROXY)
        assert isinstance(failure, KmsUnreachableError)
        assert type(error).__name__ in str(failure)

    def test_botocores_own_refusal_is_not_a_network_failure(self) -> None:
        failure = kms_failure(ParamValidationError(report="Invalid length for parameter KeyId"), PROXY)
        assert not isinstance(failure, TransportError)

    def test_text_of_an_unhandled_error_is_not_shown(self) -> None:
        failure = kms_failure(HTTPClientError(error=ValueError("Invalid header value b'theToken'")), PROXY)
        assert "theToken" not in f"{failure} {failure.hint}"
