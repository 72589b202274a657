from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from instance_tool.credentials import http_exchange
from instance_tool.credentials.imds import RoleCredentials, fetch_role_credentials
from tests.support.instance.scripted_imds import ROLES_PATH, TOKEN, TOKEN_PATH, Answer, ScriptedImds
from vsock_wire.errors import CredentialsError, ExitCode
from vsock_wire.protocol.messages import Credentials

ROLE_PATH = ROLES_PATH + "the-role"
SHORT_S = 2.0
"""A deadline that passes, after requests that are answered at once even on a busy machine."""


def failure_of(environ: dict[str, str], *, timeout_s: float = 5.0) -> CredentialsError:
    with pytest.raises(CredentialsError) as caught:
        fetch_role_credentials(environ, timeout_s=timeout_s)
    assert caught.value.exit_code is ExitCode.NO_CREDENTIALS
    for secret in ("theRoleSecret", "theRoleToken", TOKEN):
        assert secret not in f"{caught.value} {caught.value.hint}"
    return caught.value


class TestHealthy:
    def test_credentials_of_the_role_are_returned(self, imds: ScriptedImds) -> None:
        assert fetch_role_credentials(imds.environ) == RoleCredentials(
            "the-role", Credentials("ASIAROLEEXAMPLE", "theRoleSecret", "theRoleToken", "2999-01-01T00:00:00Z")
        )

    def test_each_request_follows_imds_v2(self, imds: ScriptedImds) -> None:
        fetch_role_credentials(imds.environ)
        assert [(request.method, request.path) for request in imds.requests] == [
            ("PUT", TOKEN_PATH),
            ("GET", ROLES_PATH),
            ("GET", ROLE_PATH),
        ]
        assert 1 <= int(imds.requests[0].headers["x-aws-ec2-metadata-token-ttl-seconds"]) <= 21_600
        assert [request.headers.get("x-aws-ec2-metadata-token") for request in imds.requests] == [None, TOKEN, TOKEN]

    def test_repr_shows_no_credential(self, imds: ScriptedImds) -> None:
        assert "theRole" not in repr(fetch_role_credentials(imds.environ))

    @pytest.mark.parametrize("body", [b"the-role\n", b"the-role\nother-role", b"the-role\r\n"])
    def test_first_role_of_the_list_is_used(self, imds: ScriptedImds, body: bytes) -> None:
        imds.answers["GET", ROLES_PATH] = Answer(body)
        assert fetch_role_credentials(imds.environ).role == "the-role"

    def test_role_with_every_character_iam_allows_is_asked_for(self, imds: ScriptedImds) -> None:
        imds.answers["GET", ROLES_PATH] = Answer(b"Role_1+=,.@-x")
        imds.answers["GET", ROLES_PATH + "Role_1%2B%3D%2C.%40-x"] = imds.answers["GET", ROLE_PATH]
        assert fetch_role_credentials(imds.environ).role == "Role_1+=,.@-x"

    @pytest.mark.parametrize("expiration", ["2999-01-01T00:00:00Z", "2999-01-01T00:00:00+02:00", "2999-01-01T00:00:00"])
    def test_every_form_of_time_is_read(self, imds: ScriptedImds, expiration: str) -> None:
        imds.set_credentials(Expiration=expiration)
        assert fetch_role_credentials(imds.environ).credentials.expiration == expiration

    def test_response_without_a_code_is_accepted(self, imds: ScriptedImds) -> None:
        imds.set_credentials()
        answer = imds.answers["GET", ROLE_PATH]
        assert answer.body is not None
        imds.answers["GET", ROLE_PATH] = Answer(answer.body.replace(b'"Code": "Success", ', b""))
        assert fetch_role_credentials(imds.environ).role == "the-role"


class TestRefusals:
    @pytest.mark.parametrize("value", ["true", "TRUE", "True"])
    def test_disabled_by_the_environment_sends_no_request(self, imds: ScriptedImds, value: str) -> None:
        error = failure_of({**imds.environ, "AWS_EC2_METADATA_DISABLED": value})
        assert str(error) == "IMDS: disabled by AWS_EC2_METADATA_DISABLED"
        assert (error.provider, error.variable) == ("IMDS", "AWS_EC2_METADATA_DISABLED")
        assert imds.requests == []

    @pytest.mark.parametrize(
        "answer", [Answer(b"", 404), Answer(b"not found", 404), Answer(b"", 200), Answer(b"\n", 200)]
    )
    def test_instance_without_a_role_says_so(self, imds: ScriptedImds, answer: Answer) -> None:
        imds.answers["GET", ROLES_PATH] = answer
        error = failure_of(imds.environ)
        assert str(error) == "IMDS: the instance has no role"
        assert "instance profile" in (error.hint or "")

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 500])
    def test_token_that_is_refused_is_an_error_with_a_hint(self, imds: ScriptedImds, status: int) -> None:
        imds.answers["PUT", TOKEN_PATH] = Answer(b"<html>no</html>", status)
        error = failure_of(imds.environ)
        assert f"HTTP {status}" in str(error)
        assert error.hint

    @pytest.mark.parametrize(
        "token", [b"", b"a\r\nX-Evil: 1", b"a\nb", b"\xff\xfe", "\u20ac".encode(), "\u00e9".encode(), b"a b"]
    )
    def test_token_that_no_header_can_hold_is_refused(self, imds: ScriptedImds, token: bytes) -> None:
        imds.answers["PUT", TOKEN_PATH] = Answer(token)
        assert "expected a session token" in str(failure_of(imds.environ))
        assert len(imds.requests) == 1

    @pytest.mark.parametrize("path", [("PUT", TOKEN_PATH), ("GET", ROLES_PATH), ("GET", ROLE_PATH)])
    def test_403_means_off_or_forbidden(self, imds: ScriptedImds, path: tuple[str, str]) -> None:
        imds.answers[path] = Answer(b"403 - Forbidden", 403)
        error = failure_of(imds.environ)
        assert str(error) == f"IMDS {imds.endpoint}: HTTP 403: IMDS is off or forbidden"
        assert "--http-endpoint enabled" in (error.hint or "")

    @pytest.mark.parametrize("status", [401, 500])
    def test_refused_role_list_is_an_error(self, imds: ScriptedImds, status: int) -> None:
        imds.answers["GET", ROLES_PATH] = Answer(b"no", status)
        assert f"HTTP {status}" in str(failure_of(imds.environ))

    @pytest.mark.parametrize(
        "role", [b"../../user-data", b"a/b", b"a?b", b"a b", b"\xff", b"<html>", b"x" * 65, b"r\x1b[2J"]
    )
    def test_invalid_role_name_is_refused_and_printed_safely(self, imds: ScriptedImds, role: bytes) -> None:
        imds.answers["GET", ROLES_PATH] = Answer(role)
        error = failure_of(imds.environ)
        assert "expected a role name" in str(error)
        assert str(error).isprintable()
        assert len(imds.requests) == 2

    @pytest.mark.parametrize("answer", [Answer(b"no", 401), Answer(b"{}", 403), Answer(b"", 404), Answer(b"{}", 500)])
    def test_refused_credentials_are_an_error(self, imds: ScriptedImds, answer: Answer) -> None:
        imds.answers["GET", ROLE_PATH] = answer
        assert f"HTTP {answer.status}" in str(failure_of(imds.environ))

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b"17",
            b"\xff\xfe",
            b"<html>",
            b"[" * 60_000,
            b"9" * 60_000,
            b'{"Code":"Success"} x',
            b'{"Code":"Success","More":' + b"[" * 1_000 + b"]" * 1_000 + b"}",
        ],
        ids=lambda body: body[:10].decode("latin-1"),
    )
    def test_malformed_json_is_an_error(self, imds: ScriptedImds, body: bytes) -> None:
        imds.answers["GET", ROLE_PATH] = Answer(body)
        assert str(failure_of(imds.environ)).startswith(
            "IMDS: the response has no JSON object with the role's credentials"
        )

    @pytest.mark.parametrize("name", ["AccessKeyId", "SecretAccessKey", "Token", "Expiration"])
    @pytest.mark.parametrize("value", [None, "", 5, ["x"]])
    def test_credentials_without_a_field_are_refused_by_its_name(
        self, imds: ScriptedImds, name: str, value: object
    ) -> None:
        imds.set_credentials(**{name: value})
        assert str(failure_of(imds.environ)) == f"IMDS: the role's credentials have no valid {name}"

    @pytest.mark.parametrize("code", ["AssumeRoleUnauthorizedAccess", "Failed", "", 5, "x\x1b[2J" + "A" * 1_000])
    def test_other_code_is_an_error_with_a_hint(self, imds: ScriptedImds, code: object) -> None:
        imds.set_credentials(Code=code)
        error = failure_of(imds.environ)
        assert "not available" in str(error)
        assert len(str(error)) < 200
        assert str(error).isprintable()
        assert "trust policy" in (error.hint or "")

    @pytest.mark.parametrize("expiration", ["2001-01-01T00:00:00Z", "2001-01-01T00:00:00"])
    def test_expired_credentials_are_refused(self, imds: ScriptedImds, expiration: str) -> None:
        imds.set_credentials(Expiration=expiration)
        error = failure_of(imds.environ)
        assert str(error) == f"IMDS: the role's credentials expired at {expiration}"
        assert error.hint

    @pytest.mark.parametrize("expiration", ["tomorrow", "2999-13-01T00:00:00Z", "32503680000", "2999-01-01T00:00:00ZZ"])
    def test_invalid_time_is_refused(self, imds: ScriptedImds, expiration: str) -> None:
        imds.set_credentials(Expiration=expiration)
        assert str(failure_of(imds.environ)).startswith("IMDS: the Expiration of the role's credentials is not")

    def test_redirect_is_not_followed(self, imds: ScriptedImds) -> None:
        imds.answers["PUT", TOKEN_PATH] = Answer(b"", 302, headers={"Location": imds.endpoint + "/elsewhere"})
        assert "HTTP 302" in str(failure_of(imds.environ))
        assert len(imds.requests) == 1

    @pytest.mark.parametrize("path", [("PUT", TOKEN_PATH), ("GET", ROLES_PATH), ("GET", ROLE_PATH)])
    def test_huge_answer_is_refused(self, imds: ScriptedImds, path: tuple[str, str]) -> None:
        imds.answers[path] = Answer(b"a" * 65_537)
        assert "larger than 65536 bytes" in str(failure_of(imds.environ))


class TestTransport:
    @pytest.mark.parametrize(
        ("path", "hint"),
        [
            (("PUT", TOKEN_PATH), "hop limit is 2 or more"),
            (("GET", ROLES_PATH), "overloaded"),
            (("GET", ROLE_PATH), "overloaded"),
        ],
    )
    def test_silence_times_out_and_only_that_of_the_token_suggests_the_hop_limit(
        self, imds: ScriptedImds, path: tuple[str, str], hint: str
    ) -> None:
        imds.answers[path] = Answer(None)
        error = failure_of(imds.environ, timeout_s=SHORT_S)
        assert str(error) == f"IMDS {imds.endpoint}: no response within {SHORT_S:g} s"
        assert hint in (error.hint or "")

    def test_peer_that_accepts_no_connection_is_not_blamed_on_the_hop_limit(self) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
            endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with socket.create_connection(listener.getsockname()):
                error = failure_of({"AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint}, timeout_s=0.2)
        assert str(error) == f"IMDS {endpoint}: no connection within 0.2 s"
        assert error.hint == "check AWS_EC2_METADATA_SERVICE_ENDPOINT, which sets this address"
        assert error.variable == "AWS_EC2_METADATA_SERVICE_ENDPOINT"

    @pytest.mark.parametrize("path", [("PUT", TOKEN_PATH), ("GET", ROLES_PATH), ("GET", ROLE_PATH)])
    def test_peer_that_drips_bytes_costs_one_deadline_for_all_requests(
        self, imds: ScriptedImds, path: tuple[str, str]
    ) -> None:
        """The peer goes on until the client leaves, so this test ends only if the client does."""
        imds.answers[path] = Answer(b"x" * 60_000, drips=True)
        error = failure_of(imds.environ, timeout_s=SHORT_S)
        assert str(error) == f"IMDS {imds.endpoint}: no response within {SHORT_S:g} s"
        assert imds.is_left.wait(30)

    def test_nothing_listening_is_an_error_with_a_hint(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        error = failure_of({"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{port}"})
        assert "connection refused" in str(error)
        assert error.hint == "check AWS_EC2_METADATA_SERVICE_ENDPOINT, which sets this address"

    @pytest.fixture
    def raw(self) -> Iterator[tuple[str, list[bytes]]]:
        """Start a server that answers every connection with bytes from the test."""
        answers: list[bytes] = []
        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with sock:
                    sock.recv(65_536)
                    sock.sendall(answers[0])

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", answers
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"SSH-2.0-OpenSSH\r\n",
            b"HTTP/1.1",
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"\x16\x03\x01\x02\x00",
        ],
        ids=lambda answer: answer[:12].decode("latin-1"),
    )
    def test_peer_that_does_not_speak_http_is_an_error(self, raw: tuple[str, list[bytes]], answer: bytes) -> None:
        endpoint, answers = raw
        answers.append(answer)
        assert str(failure_of({"AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint})).startswith(f"IMDS {endpoint}: ")

    @pytest.mark.parametrize(
        "endpoint",
        [
            "https://127.0.0.1",
            "127.0.0.1",
            "ftp://127.0.0.1",
            "http://",
            "http://:80",
            "http://[",
            "http://127.0.0.1:99999",
            "http://127.0.0.1:port",
            "http://a..b",
            "http://" + "a" * 64,
            "http://a b",
            "http://\x00",
            "http://\u20ac" + "a" * 63,
            "http://user@127.0.0.1",
        ],
    )
    def test_invalid_endpoint_is_an_error_that_names_it(self, endpoint: str) -> None:
        error = failure_of({"AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint}, timeout_s=0.5)
        assert "AWS_EC2_METADATA_SERVICE_ENDPOINT" in str(error) or str(error).startswith("IMDS http://")
        assert str(error).isprintable()

    def test_endpoint_with_a_trailing_slash_is_accepted(self, imds: ScriptedImds) -> None:
        environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.endpoint + "/"}
        assert fetch_role_credentials(environ).role == "the-role"

    def test_proxy_of_the_environment_is_not_used(self, imds: ScriptedImds, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        assert fetch_role_credentials({**imds.environ, "http_proxy": "http://127.0.0.1:1"}).role == "the-role"

    @pytest.mark.parametrize(
        ("environ", "address"),
        [
            ({}, ("169.254.169.254", 80)),
            ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": ""}, ("169.254.169.254", 80)),
            ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv4"}, ("169.254.169.254", 80)),
            ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, ("fd00:ec2::254", 80)),
            ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "ipv6"}, ("fd00:ec2::254", 80)),
            (
                {
                    "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://[::1]:81",
                    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv4",
                },
                ("::1", 81),
            ),
        ],
    )
    def test_endpoint_is_the_one_given_or_else_that_of_the_mode(
        self, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], address: tuple[str, int]
    ) -> None:
        dialled: list[object] = []

        def refuse(host: str, port: int, **_: object) -> socket.socket:
            dialled.append((host, port))
            raise ConnectionRefusedError(111, "Connection refused")

        monkeypatch.setattr(http_exchange, "dial", refuse)
        error = failure_of(environ)
        assert dialled == [address]
        if not environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"):
            assert "EC2 instance" in (error.hint or "")

    def test_mode_that_does_not_exist_is_an_error_that_names_its_variable(self) -> None:
        error = failure_of({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv5"})
        assert str(error) == 'AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE: expected IPv4 or IPv6, got "ipv5"'
        assert error.variable == "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"
