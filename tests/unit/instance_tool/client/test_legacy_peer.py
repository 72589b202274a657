from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from instance_tool.client import client as client_module
from instance_tool.client.client import EnclaveClient
from instance_tool.client.legacy_peer import refusal_by_legacy_peer
from instance_tool.errors import EnclaveError, LegacyPeerError
from tests.support.enclave.scripted_enclave import Conversation, Message, Peer, ScriptedEnclave
from tests.support.kms.decrypting import decrypt_request, decrypt_result
from vsock_wire.errors import ExitCode
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS, KmsRequest
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.vocabulary import Operation

REQUEST = decrypt_request(b"\1\2\3")


def new_client(enclave: ScriptedEnclave) -> EnclaveClient:
    return EnclaveClient(enclave.address, credentials=Credentials("AKIDEXAMPLE", "theSecret"), timeout_s=10.0)


def request_with(**parameters: object) -> KmsRequest:
    return KmsRequest(Operation.DECRYPT, {**REQUEST.parameters, **parameters})


@pytest.mark.parametrize(
    ("parameter", "value", "word", "option"),
    [
        ("KeyId", "alias/no-such-key", "the key ID", "--key-id"),
        ("EncryptionAlgorithm", "RSAES_OAEP_SHA_256", "the encryption algorithm", "--encryption-algorithm"),
        ("GrantTokens", ("token",), "grant tokens", "--grant-token"),
    ],
)
def test_parameter_that_it_ignores_is_refused_before_credentials_and_ciphertext(
    short_dir: Path, parameter: str, value: object, word: str, option: str
) -> None:
    conversation = Conversation(is_c=True)
    with ScriptedEnclave(short_dir, conversation) as enclave, new_client(enclave) as client:
        with pytest.raises(LegacyPeerError) as caught:
            client.ask_enclave(request_with(**{parameter: value}))
        assert client.is_legacy_peer
    assert str(caught.value) == f"this enclave runs kmstool in C, which ignores {word}"
    assert caught.value.hint == f"omit {option}, or run this project's kmstool-enclave"
    assert caught.value.exit_code is ExitCode.FAILED
    assert conversation.operations == [(1, "Describe")]


def test_parameter_is_refused_after_a_success_too(short_dir: Path) -> None:
    conversation = Conversation(is_c=True)
    with ScriptedEnclave(short_dir, conversation) as enclave, new_client(enclave) as client:
        client.ask_enclave(REQUEST)
        with pytest.raises(LegacyPeerError):
            client.ask_enclave(request_with(KeyId="alias/other"))
        assert client.ask_enclave(REQUEST).secret == b"Hello, KMS!"
    assert [name for _, name in conversation.operations].count("Decrypt") == 2


def test_operation_that_it_does_not_know_is_refused_before_credentials_and_plaintext(short_dir: Path) -> None:
    conversation = Conversation(is_c=True)
    request = KmsRequest(Operation.ENCRYPT, {"KeyId": "alias/app", "Plaintext": b"the secret"})
    with (
        ScriptedEnclave(short_dir, conversation) as enclave,
        new_client(enclave) as client,
        pytest.raises(LegacyPeerError, match=r"does not know Encrypt: its only operation is Decrypt$"),
    ):
        client.ask_enclave(request)
    assert conversation.operations == [(1, "Describe")]


def test_our_enclave_gets_the_parameter_and_describes_itself_once_a_connection(short_dir: Path) -> None:
    seen: list[Message] = []

    def converse(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            seen.append(request)
            peer.send({"Status": "Ok", "Protocol": 2, "Message": "AQID"})

    with ScriptedEnclave(short_dir, converse) as enclave, new_client(enclave) as client:
        for _ in range(2):
            assert client.ask_enclave(request_with(KeyId="alias/app")) == decrypt_result(b"\1\2\3")
        assert not client.is_legacy_peer
    assert [request["Operation"] for request in seen] == ["Describe", "SetClient", "Decrypt", "Decrypt"]
    assert [request.get("KeyId") for request in seen[2:]] == ["alias/app"] * 2


def test_other_refusal_of_describe_is_not_taken_for_a_legacy_peer(short_dir: Path) -> None:
    def converse(peer: Peer) -> None:
        peer.receive()
        peer.send({"Status": "Error", "Message": "busy", "Code": "TooManyConnections", "Service": "enclave"})

    with ScriptedEnclave(short_dir, converse) as enclave, new_client(enclave) as client:
        with pytest.raises(EnclaveError, match="busy"):
            client.ask_enclave(request_with(KeyId="alias/app"))
        assert not client.is_legacy_peer


def test_error_for_an_unknown_operation_says_what_the_enclave_runs(short_dir: Path) -> None:
    with (
        ScriptedEnclave(short_dir, Conversation(is_c=True)) as enclave,
        EnclaveClient(enclave.address) as client,
        pytest.raises(EnclaveError, match=r"^Operation not recognized$") as caught,
    ):
        client.fetch_attestation_document(nonce=b"x")
    assert caught.value.hint == (
        "this enclave runs kmstool in C, whose only operation is Decrypt: run this project's kmstool-enclave"
    )


@pytest.mark.parametrize(
    "name", [spec.name for spec in KMS_OPERATIONS[Operation.DECRYPT].request if spec.name != "Ciphertext"]
)
def test_only_the_encryption_context_is_read_besides_the_ciphertext(name: str) -> None:
    refusal = refusal_by_legacy_peer({"Operation": Operation.DECRYPT, "Ciphertext": "AQID", name: "given"})
    assert (refusal is None) is (name == "EncryptionContext")


class TestSecondReply:
    def test_is_read_before_the_connection_closes(self, short_dir: Path) -> None:
        ends: list[bytes] = []

        def converse(peer: Peer) -> None:
            peer.receive()
            peer.send({"Status": "Ok"})
            peer.receive()
            peer.send({"Status": "Ok", "Message": "AQID"})
            with contextlib.suppress(TimeoutError):  # the client waits, so nothing arrives yet
                peer.sock.settimeout(0.2)
                ends.append(peer.sock.recv(1))
            peer.sock.settimeout(None)
            peer.sock.sendall(b'{ "Status": "Error" }\0')  # raises if the client has closed
            ends.append(peer.sock.recv(1))

        with ScriptedEnclave(short_dir, converse) as enclave, new_client(enclave) as client:
            assert client.ask_enclave(REQUEST).secret == b"\1\2\3"
        assert ends == [b""]

    @pytest.mark.parametrize("ending", ["silence", "close", "garbage"])
    def test_that_does_not_come_costs_neither_the_result_nor_more_than_its_deadline(
        self, short_dir: Path, ending: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_module, "SECOND_REPLY_TIMEOUT_S", 0.05)

        def converse(peer: Peer) -> None:
            peer.receive()
            peer.send({"Status": "Ok"})
            peer.receive()
            peer.send({"Status": "Ok", "Message": "AQID"})
            if ending == "garbage":
                peer.send_bytes(b"x" * 70_000)
            if ending != "close":
                peer.receive()

        with ScriptedEnclave(short_dir, converse) as enclave, new_client(enclave) as client:
            assert client.ask_enclave(REQUEST).secret == b"\1\2\3"

    def test_is_not_waited_for_after_a_failure(self, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(*_: object, **__: object) -> None:
            pytest.fail("waited for a second reply")

        monkeypatch.setattr("instance_tool.client.connection.EnclaveConnection.discard_reply", never)
        conversation = Conversation(is_c=True)
        conversation.plaintexts.clear()
        with (
            ScriptedEnclave(short_dir, conversation) as enclave,
            new_client(enclave) as client,
            pytest.raises(EnclaveError),
        ):
            client.ask_enclave(REQUEST)
