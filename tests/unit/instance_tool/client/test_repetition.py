"""Which replies the client of an enclave refuses, and which requests it sends again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from instance_tool.client.client import EnclaveClient
from instance_tool.credentials.found import FoundCredentials
from instance_tool.credentials.source import CredentialSource
from tests.support.enclave.scripted_enclave import Conversation, Message, Peer, ScriptedEnclave
from tests.support.kms.decrypting import decrypt_request
from vsock_wire.errors import TransportError, WireError
from vsock_wire.protocol.messages import Credentials

CREDENTIALS = Credentials("AKIDEXAMPLE", "theSecret")
REQUEST = decrypt_request(b"\1\2\3")
OTHER_REQUEST = decrypt_request(b"\4\5\6")
TIMEOUT_S = 10.0
"""A test that passes never waits this long."""


def new_client(enclave: ScriptedEnclave) -> EnclaveClient:
    return EnclaveClient(enclave.address, credentials=CREDENTIALS, timeout_s=TIMEOUT_S)


class TestStrayReplies:
    def test_duplicated_reply_is_never_taken_for_the_next_one(self, short_dir: Path) -> None:
        """The enclave sends each reply twice: the client leaves the connection before it asks again."""
        conversation = Conversation(is_c=False)
        conversation.plaintexts["BAUG"] = "b3RoZXI="

        def converse(peer: Peer) -> None:
            send = peer.send_bytes
            peer.send_bytes = lambda data: send(data * 2 if b"KeyId" in data else data)  # type: ignore[method-assign]
            conversation(peer)

        with ScriptedEnclave(short_dir, converse) as enclave, new_client(enclave) as client:
            results = [client.ask_enclave(request).secret for request in (REQUEST, OTHER_REQUEST, REQUEST)]
        assert results == [b"Hello, KMS!", b"other", b"Hello, KMS!"]
        assert conversation.operations == [(n, name) for n in (1, 2, 3) for name in ("SetClient", "Decrypt")]

    def test_late_reply_is_refused_by_its_id_and_the_next_request_has_a_connection_of_its_own(
        self, short_dir: Path
    ) -> None:
        conversation = Conversation(is_c=False)

        def converse(peer: Peer) -> None:
            if peer.number > 1:
                return conversation(peer)
            peer.receive()
            peer.send({"Status": "Ok", "Protocol": 2, "Delivery": "reply"})
            peer.receive()
            return peer.send({"Status": "Ok", "Message": "c2VjcmV0", "Id": "0"})

        with ScriptedEnclave(short_dir, converse) as enclave, new_client(enclave) as client:
            with pytest.raises(WireError, match="its Id is not that of the request"):
                client.ask_enclave(REQUEST)
            assert client.ask_enclave(REQUEST).secret == b"Hello, KMS!"

    def test_connection_that_the_enclave_closed_while_idle_is_replaced_before_the_request(
        self, short_dir: Path
    ) -> None:
        """Without repeating anything: this enclave says that it delivers to a program."""
        is_closed = threading.Event()
        asked: list[str] = []

        def converse(peer: Peer) -> None:
            for _ in range(2):
                request = peer.receive()
                assert request is not None
                asked.append(request["Operation"])
                peer.send({"Status": "Ok", "Protocol": 2, "Delivery": "exec", "Message": "AQID"})
            peer.sock.shutdown(socket.SHUT_RDWR)
            is_closed.set()

        with ScriptedEnclave(short_dir, converse) as enclave, new_client(enclave) as client:
            for _ in range(2):
                client.ask_enclave(REQUEST)
                assert is_closed.wait(TIMEOUT_S)
                is_closed.clear()
        assert asked == ["SetClient", "Decrypt"] * 2
        assert enclave.connections == 2


class TestRepetition:
    @pytest.mark.parametrize(
        ("delivery", "is_repeated"),
        [("reply", True), ("digest", True), ("exec", False), ("later", False), (None, False)],
    )
    def test_request_that_may_have_been_performed_is_repeated_only_if_no_program_can_have_its_result(
        self, short_dir: Path, delivery: str | None, *, is_repeated: bool
    ) -> None:
        asked: list[str] = []

        def converse(peer: Peer) -> None:
            while (request := peer.receive()) is not None:
                asked.append(request["Operation"])
                if peer.number == 1 and len(asked) == 3:
                    return  # performed, as far as the client can know
                peer.send({"Status": "Ok", "Protocol": 2, "Delivery": delivery, "Message": "AQID"})

        with ScriptedEnclave(short_dir, converse) as enclave, new_client(enclave) as client:
            client.send_credentials()
            client.describe()
            if is_repeated:
                client.exchange_with_credentials({"Operation": "Decrypt"})
            else:
                with pytest.raises(TransportError, match="closed before the reply"):
                    client.exchange_with_credentials({"Operation": "Decrypt"})
        assert asked[:3] == ["SetClient", "Describe", "Decrypt"]
        assert asked[3:] == (["SetClient", "Decrypt"] if is_repeated else [])

    def test_request_with_expired_credentials_is_repeated_because_no_program_got_anything(
        self, short_dir: Path
    ) -> None:
        expired = {"Status": "Error", "Message": "no", "Code": "ExpiredTokenException", "Service": "kms"}
        replies: Iterator[Message] = iter([{"Status": "Ok", "Protocol": 2, "Delivery": "exec"}, expired])
        found = iter([CREDENTIALS, Credentials("AKIDNEW", "newSecret")])

        def converse(peer: Peer) -> None:
            while peer.receive() is not None:
                peer.send(next(replies, {"Status": "Ok", "Protocol": 2, "Delivery": "exec", "Message": "AQID"}))

        source = CredentialSource(lambda: FoundCredentials(next(found), "the test"))
        with ScriptedEnclave(short_dir, converse) as enclave:
            client = EnclaveClient(enclave.address, credentials=source, timeout_s=TIMEOUT_S)
            assert client.ask_enclave(REQUEST).fields == {"Output": b"\1\2\3"}
            client.close()
