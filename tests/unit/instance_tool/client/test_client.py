from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from instance_tool.client import connection as connection_module
from instance_tool.client.client import EnclaveClient
from instance_tool.errors import EnclaveError
from tests.support.enclave.scripted_enclave import Conversation, Peer, ScriptedEnclave
from tests.support.kms.decrypting import decrypt_request, decrypt_result
from vsock_wire.errors import ExitCode, ToolError, TransportError, WireError
from vsock_wire.net.address import UnixAddress
from vsock_wire.protocol.messages import Credentials

CREDENTIALS = Credentials("AKIDEXAMPLE", "theSecret", "theToken", "2031-01-01T00:00:00Z")
REQUEST = decrypt_request(b"\1\2\3")
OTHER_REQUEST = decrypt_request(b"\4\5\6")
TIMEOUT_S = 10.0
"""A test that passes never waits this long."""


def new_client(enclave: ScriptedEnclave, *, timeout_s: float = TIMEOUT_S, region: str | None = None) -> EnclaveClient:
    client = EnclaveClient(enclave.address, timeout_s=timeout_s)
    client.set_credentials(CREDENTIALS, region)
    return client


def after_set_client(answer: Callable[[Peer], None]) -> Callable[[Peer], None]:
    """Accept SetClient as kmstool-enclave does, and handle every later request with ``answer``."""

    def converse(peer: Peer) -> None:
        if peer.receive() is not None:
            peer.send({"Status": "Ok", "Protocol": 2})
        if peer.receive() is not None:
            answer(peer)

    return converse


def stay_silent(peer: Peer) -> None:
    while peer.receive() is not None:
        pass


def failure_of(folder: Path, converse: Callable[[Peer], None], *, timeout_s: float = TIMEOUT_S) -> ToolError:
    with (
        ScriptedEnclave(folder, converse) as enclave,
        new_client(enclave, timeout_s=timeout_s) as client,
        pytest.raises(ToolError) as caught,
    ):
        client.ask_enclave(REQUEST)
    return caught.value


class TestOurEnclave:
    def test_one_connection_serves_many_decrypts_after_one_set_client(self, short_dir: Path) -> None:
        conversation = Conversation(is_c=False)
        with ScriptedEnclave(short_dir, conversation) as enclave, new_client(enclave, region="eu-west-1") as client:
            results = [client.ask_enclave(REQUEST) for _ in range(20)]
        assert results == [decrypt_result(b"Hello, KMS!", "key-arn", "SYMMETRIC")] * 20
        assert conversation.operations == [(1, "SetClient"), *[(1, "Decrypt")] * 20]
        assert conversation.requests[0][1] == {
            "Operation": "SetClient",
            "AwsAccessKeyId": "AKIDEXAMPLE",
            "AwsSecretAccessKey": "theSecret",
            "AwsSessionToken": "theToken",
            "Expiration": "2031-01-01T00:00:00Z",
            "AwsRegion": "eu-west-1",
        }

    def test_nothing_is_connected_before_the_first_call(self, short_dir: Path) -> None:
        client = EnclaveClient(UnixAddress(str(short_dir / "nobody")))
        client.set_credentials(CREDENTIALS, None)
        client.close()

    def test_error_reply_keeps_the_connection_open(self, short_dir: Path) -> None:
        conversation = Conversation(is_c=False)
        with ScriptedEnclave(short_dir, conversation) as enclave, new_client(enclave) as client:
            with pytest.raises(EnclaveError, match=r"^Could not decrypt ciphertext"):
                client.ask_enclave(OTHER_REQUEST)
            assert client.ask_enclave(REQUEST).secret == b"Hello, KMS!"
        assert conversation.operations == [(1, "SetClient"), (1, "Decrypt"), (1, "Decrypt")]

    def test_new_credentials_are_sent_before_the_next_decrypt(self, short_dir: Path) -> None:
        conversation = Conversation(is_c=False)
        with ScriptedEnclave(short_dir, conversation) as enclave, new_client(enclave) as client:
            client.ask_enclave(REQUEST)
            client.set_credentials(Credentials("AKIDNEW", "newSecret"), None)
            client.ask_enclave(REQUEST)
        assert [request.get("AwsAccessKeyId") for _, request in conversation.requests] == [
            "AKIDEXAMPLE",
            None,
            "AKIDNEW",
            None,
        ]

    def test_refused_set_client_is_sent_again_by_the_next_decrypt(self, short_dir: Path) -> None:
        conversation = Conversation(is_c=False)

        def converse(peer: Peer) -> None:
            peer.receive()
            peer.send({"Status": "Error", "Message": "Could not create new client", "Code": "ClientFailed"})
            conversation(peer)

        with ScriptedEnclave(short_dir, converse) as enclave, new_client(enclave) as client:
            with pytest.raises(EnclaveError, match=r"^Could not create new client$"):
                client.ask_enclave(REQUEST)
            assert client.ask_enclave(REQUEST).secret == b"Hello, KMS!"
        assert enclave.connections == 1

    def test_after_a_broken_exchange_the_next_call_reconnects_and_sends_credentials(self, short_dir: Path) -> None:
        conversation = Conversation(is_c=False)

        def converse(peer: Peer) -> None:
            if peer.number == 1:
                after_set_client(lambda _: None)(peer)
            else:
                conversation(peer)

        with ScriptedEnclave(short_dir, converse) as enclave, new_client(enclave) as client:
            with pytest.raises(TransportError):
                client.ask_enclave(REQUEST)
            assert client.ask_enclave(REQUEST).secret == b"Hello, KMS!"
        assert conversation.operations == [(2, "SetClient"), (2, "Decrypt")]

    def test_describe_returns_everything_but_the_status(self, short_dir: Path) -> None:
        def converse(peer: Peer) -> None:
            assert peer.receive() == {"Operation": "Describe"}
            peer.send({"Status": "Ok", "Version": "1", "Limits": {"Connections": 1}})

        with ScriptedEnclave(short_dir, converse) as enclave, EnclaveClient(enclave.address) as client:
            assert client.describe() == {"Version": "1", "Limits": {"Connections": 1}}

    def test_decrypt_without_credentials_is_a_value_error(self, short_dir: Path) -> None:
        with pytest.raises(ValueError, match="set_credentials"):
            EnclaveClient(UnixAddress(str(short_dir / "x"))).ask_enclave(REQUEST)


class TestKmstoolInC:
    def test_one_decrypt_gets_its_plaintext(self, short_dir: Path) -> None:
        with ScriptedEnclave(short_dir, Conversation(is_c=True)) as enclave, new_client(enclave) as client:
            assert client.ask_enclave(REQUEST) == decrypt_result(b"Hello, KMS!")

    def test_every_decrypt_of_many_gets_its_own_plaintext_on_a_connection_of_its_own(self, short_dir: Path) -> None:
        conversation = Conversation(is_c=True)
        conversation.plaintexts["BAUG"] = "b3RoZXI="
        with ScriptedEnclave(short_dir, conversation) as enclave, new_client(enclave) as client:
            results = [client.ask_enclave(request).secret for request in (REQUEST, OTHER_REQUEST, REQUEST)]
        assert results == [b"Hello, KMS!", b"other", b"Hello, KMS!"]
        assert conversation.operations == [(n, name) for n in (1, 2, 3) for name in ("SetClient", "Decrypt")]

    def test_failure_between_successes_affects_only_its_request(self, short_dir: Path) -> None:
        with ScriptedEnclave(short_dir, Conversation(is_c=True)) as enclave, new_client(enclave) as client:
            assert client.ask_enclave(REQUEST).secret == b"Hello, KMS!"
            with pytest.raises(EnclaveError, match=r"^Could not decrypt ciphertext$") as caught:
                client.ask_enclave(OTHER_REQUEST)
            assert "gives no reason" in (caught.value.hint or "")
            assert client.ask_enclave(REQUEST).secret == b"Hello, KMS!"

    def test_connection_is_not_held_between_decrypts(self, short_dir: Path) -> None:
        with (
            ScriptedEnclave(short_dir, Conversation(is_c=True)) as enclave,
            new_client(enclave) as first,
            new_client(enclave) as second,
        ):
            first.ask_enclave(REQUEST)
            assert second.ask_enclave(REQUEST).secret == b"Hello, KMS!"

    def test_error_for_describe_is_passed_on_unchanged(self, short_dir: Path) -> None:
        with (
            ScriptedEnclave(short_dir, Conversation(is_c=True)) as enclave,
            EnclaveClient(enclave.address) as client,
            pytest.raises(EnclaveError, match=r"^Operation not recognized$"),
        ):
            client.describe()

    def test_its_json_with_null_bytes_and_spaces_is_read(self, short_dir: Path) -> None:
        def converse(peer: Peer) -> None:
            peer.receive()
            peer.send_bytes(b'{ "Status": "Ok" }\0')
            peer.receive()
            peer.send_bytes(b'{ "Status": "Ok", "Message": "SGVsbG8sIEtNUyE=" }\0{ "Status": "Error" }\0')

        with ScriptedEnclave(short_dir, converse) as enclave, new_client(enclave) as client:
            assert client.ask_enclave(REQUEST).secret == b"Hello, KMS!"


class TestBrokenPeers:
    @pytest.mark.parametrize(
        "garbage",
        [
            b"\0",
            b"HTTP/1.1 400 Bad Request\r\n\r\n\0",
            b"null\0",
            b"[]\0",
            b"{}\0",
            b'{"Status":"OK"}\0',
            b'{"Status":"Ok","Message":"not base64"}\0',
            b'{"Status":"Ok","Message":{}}\0',
            b'{"Status":"Ok"}\0',
            b'{"Status":"Ok","Status":"Ok","Message":"AQID"}\0',
            b"\xff\xfe\0",
            b"[" * 60_000 + b"\0",
            b"x" * 70_000,
        ],
    )
    def test_garbage_for_a_reply_is_a_wire_error(self, short_dir: Path, garbage: bytes) -> None:
        error = failure_of(short_dir, after_set_client(lambda peer: peer.send_bytes(garbage)))
        assert isinstance(error, WireError)
        assert error.exit_code is ExitCode.FAILED

    @pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n\0", b"[]\0", b"x" * 70_000])
    def test_garbage_is_not_reported_as_a_fault_of_the_users_message(self, short_dir: Path, garbage: bytes) -> None:
        error = failure_of(short_dir, after_set_client(lambda peer: peer.send_bytes(garbage)))
        assert str(error).startswith("reply: not a JSON object")

    def test_half_a_reply_is_a_transport_error(self, short_dir: Path) -> None:
        error = failure_of(short_dir, after_set_client(lambda peer: peer.send_bytes(b'{"Status":"Ok",')))
        assert isinstance(error, TransportError)
        assert str(error).endswith("the connection ended in the middle of a message")

    def test_close_before_the_reply_is_a_transport_error_with_a_hint(self, short_dir: Path) -> None:
        error = failure_of(short_dir, after_set_client(lambda _: None))
        assert isinstance(error, TransportError)
        assert str(error).endswith("the connection was closed before the reply")
        assert error.hint is not None
        assert error.exit_code is ExitCode.UNREACHABLE

    def test_silence_times_out(self, short_dir: Path) -> None:
        error = failure_of(short_dir, after_set_client(stay_silent), timeout_s=0.1)
        assert str(error).endswith("no progress within 0.1 s")

    def test_peer_that_never_answers_set_client_times_out(self, short_dir: Path) -> None:
        error = failure_of(short_dir, stay_silent, timeout_s=0.1)
        assert (error.exit_code, type(error)) == (ExitCode.UNREACHABLE, TransportError)

    def test_dribbled_reply_times_out(self, short_dir: Path) -> None:
        is_over = threading.Event()

        def dribble(peer: Peer) -> None:
            for _ in range(500):
                if is_over.wait(0.01):
                    return
                peer.send_bytes(b" ")

        with (
            ScriptedEnclave(short_dir, after_set_client(dribble)) as enclave,
            new_client(enclave, timeout_s=0.2) as client,
        ):
            with pytest.raises(TransportError, match=r"did not arrive in time|no progress"):
                client.ask_enclave(REQUEST)
            is_over.set()

    def test_nobody_listening_is_a_transport_error(self, short_dir: Path) -> None:
        client = EnclaveClient(UnixAddress(str(short_dir / "nobody")))
        client.set_credentials(CREDENTIALS, None)
        with pytest.raises(TransportError, match=r"^connect to unix:") as caught:
            client.ask_enclave(REQUEST)
        assert caught.value.operation == "connect to"

    def test_reply_sent_before_the_close_is_read_even_if_the_request_could_not_be_sent(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ours, theirs = socket.socketpair()
        theirs.sendall(b'{"Status":"Error","Message":"Too many connections: 1 are open","Code":"TooManyConnections"}\0')
        theirs.close()
        monkeypatch.setattr(connection_module, "connect_socket", lambda *_, **__: ours)
        with EnclaveClient(UnixAddress(str(short_dir / "x"))) as client:
            client.set_credentials(CREDENTIALS, None)
            with pytest.raises(EnclaveError, match=r"^Too many connections"):
                client.ask_enclave(REQUEST)

    def test_errors_never_quote_a_plaintext_or_credential(self, short_dir: Path) -> None:
        for garbage in (b'{"Status":"Ok","Message":"c2VjcmV0!"}\0', b'{"Status":"Ok","Message":"c2VjcmV0"} x\0'):
            error = failure_of(short_dir, after_set_client(lambda peer, data=garbage: peer.send_bytes(data)))  # type: ignore[misc]
            assert "c2VjcmV0" not in f"{error!r} {error.hint}"
            assert error.__cause__ is None
            (short_dir / "enclave").unlink()


class TestErrorReplies:
    def test_text_of_a_peer_is_truncated(self, short_dir: Path) -> None:
        reply = {"Status": "Error", "Message": "A" * 50_000, "Hint": "B" * 10_000, "RequestId": "C" * 500}
        error = failure_of(short_dir, after_set_client(lambda peer: peer.send(reply)))
        assert isinstance(error, EnclaveError)
        assert len(str(error)) < 5_000
        assert len(error.hint or "") < 5_000

    def test_details_of_kms_are_shown(self, short_dir: Path) -> None:
        reply = {
            "Status": "Error",
            "Message": "Could not decrypt ciphertext: AccessDeniedException: no",
            "Code": "AccessDeniedException",
            "Service": "kms",
            "HttpStatus": 400,
            "RequestId": "r-1",
            "Hint": "look",
        }
        error = failure_of(short_dir, after_set_client(lambda peer: peer.send(reply)))
        assert str(error) == "Could not decrypt ciphertext: AccessDeniedException: no (HTTP 400, request id r-1)"
        assert (error.hint, error.exit_code) == ("look", ExitCode.REFUSED)

    def test_error_without_a_message_says_so(self, short_dir: Path) -> None:
        error = failure_of(short_dir, after_set_client(lambda peer: peer.send({"Status": "Error"})))
        assert str(error) == "the enclave refused the request without giving a reason"
