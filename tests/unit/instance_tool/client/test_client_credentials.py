"""What the client of an enclave does when its credentials expire."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from instance_tool.client.client import EnclaveClient
from instance_tool.credentials.found import FoundCredentials
from instance_tool.credentials.source import CredentialSource
from instance_tool.errors import EnclaveError
from tests.support.enclave.scripted_enclave import Conversation, Peer, ScriptedEnclave
from tests.support.kms.decrypting import decrypt_request
from vsock_wire.errors import CredentialsError
from vsock_wire.protocol.messages import Credentials

REQUEST = decrypt_request(b"\1\2\3")
EXPIRED = {
    "Status": "Error",
    "Message": "Could not decrypt ciphertext: ExpiredTokenException: The security token is expired",
    "Code": "ExpiredTokenException",
    "Service": "kms",
}


class Enclave:
    """Decrypts for credentials with a number of at least ``oldest``; replies with ``refusal`` to others."""

    def __init__(self, *, oldest: int = 1, refusal: dict[str, Any] | None = None) -> None:
        self.oldest = oldest
        self.refusal = refusal or EXPIRED
        self.seen: list[str] = []

    def __call__(self, peer: Peer) -> None:
        number = 0
        while (request := peer.receive()) is not None:
            if request["Operation"] == "SetClient":
                number = int(request["AwsAccessKeyId"].removeprefix("ASIA"))
                self.seen.append(f"SetClient {number}")
                peer.send({"Status": "Ok", "Protocol": 2})
            else:
                self.seen.append(f"Decrypt {number}")
                peer.send({"Status": "Ok", "Message": "AQID"} if number >= self.oldest else self.refusal)


class Source(CredentialSource):
    """Returns numbered credentials, up to number ``last``, which it then repeats."""

    def __init__(self, *, last: int = 1_000, expiration: str | None = None) -> None:
        self.asked = 0
        self._last, self._expiration = last, expiration
        super().__init__(self._next)

    def _next(self) -> FoundCredentials:
        self.asked += 1
        number = min(self.asked, self._last)
        return FoundCredentials(Credentials(f"ASIA{number}", "theSecret", "theToken", self._expiration), "the test")


def new_client(enclave: ScriptedEnclave, source: CredentialSource) -> EnclaveClient:
    client = EnclaveClient(enclave.address, timeout_s=10.0)
    client.set_credentials(source, None)
    return client


def test_expired_credentials_are_renewed_and_the_request_is_repeated_on_the_same_connection(short_dir: Path) -> None:
    enclave = Enclave(oldest=2)
    with ScriptedEnclave(short_dir, enclave) as scripted, new_client(scripted, Source()) as client:
        assert client.ask_enclave(REQUEST).secret == b"\1\2\3"
        assert client.ask_enclave(REQUEST).secret == b"\1\2\3"
    assert enclave.seen == ["SetClient 1", "Decrypt 1", "SetClient 2", "Decrypt 2", "Decrypt 2"]
    assert scripted.connections == 1


def test_request_is_repeated_once_and_never_more(short_dir: Path) -> None:
    enclave = Enclave(oldest=100)
    with ScriptedEnclave(short_dir, enclave) as scripted, new_client(scripted, Source()) as client:
        with pytest.raises(EnclaveError, match="ExpiredTokenException"):
            client.ask_enclave(REQUEST)
        assert enclave.seen == ["SetClient 1", "Decrypt 1", "SetClient 2", "Decrypt 2"]


def test_request_is_not_repeated_without_other_credentials(short_dir: Path) -> None:
    enclave, source = Enclave(oldest=100), Source(last=1)
    with ScriptedEnclave(short_dir, enclave) as scripted, new_client(scripted, source) as client:
        with pytest.raises(EnclaveError, match="ExpiredTokenException"):
            client.ask_enclave(REQUEST)
        assert enclave.seen == ["SetClient 1", "Decrypt 1"]
        assert source.asked == 2


@pytest.mark.parametrize(
    "change",
    [
        {"Code": "AccessDeniedException"},
        {"Code": "UnrecognizedClientException"},
        {"Code": "InvalidSignatureException"},
        {"Code": "ThrottlingException"},
        {"Service": "enclave"},
        {"Service": None},
        {"Code": None},
        {"Code": "ClientNotSet", "Service": "enclave"},
    ],
    ids=str,
)
def test_no_other_error_is_retried(short_dir: Path, change: dict[str, str | None]) -> None:
    enclave, source = Enclave(oldest=100, refusal={**EXPIRED, **change}), Source()
    with ScriptedEnclave(short_dir, enclave) as scripted, new_client(scripted, source) as client:
        with pytest.raises(EnclaveError):
            client.ask_enclave(REQUEST)
        assert enclave.seen == ["SetClient 1", "Decrypt 1"]
        assert source.asked == 1


def test_kmstool_in_c_gives_no_code_and_is_asked_once(short_dir: Path) -> None:
    conversation, source = Conversation(is_c=True), Source()
    conversation.plaintexts.clear()
    with ScriptedEnclave(short_dir, conversation) as scripted, new_client(scripted, source) as client:
        with pytest.raises(EnclaveError, match=r"^Could not decrypt ciphertext$"):
            client.ask_enclave(REQUEST)
        assert client.is_legacy_peer
    assert [name for _, name in conversation.operations] == ["SetClient", "Decrypt"]
    assert source.asked == 1


def test_credentials_that_expire_soon_are_replaced_before_the_call(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instance_tool.credentials.source.ASK_AGAIN_S", 0.0)
    enclave = Enclave()
    source = Source(expiration="2001-01-01T00:00:00Z")
    with ScriptedEnclave(short_dir, enclave) as scripted, new_client(scripted, source) as client:
        client.ask_enclave(REQUEST)
        client.ask_enclave(REQUEST)
    assert enclave.seen == ["SetClient 1", "Decrypt 1", "SetClient 2", "Decrypt 2"]


def test_expiration_stays_the_reason_if_no_new_credentials_are_found(short_dir: Path) -> None:
    answers = [FoundCredentials(Credentials("ASIA1", "theSecret"), "the test")]

    def find() -> FoundCredentials:
        if answers:
            return answers.pop()
        raise CredentialsError("IMDS: no answer")

    with (
        ScriptedEnclave(short_dir, Enclave(oldest=2)) as scripted,
        new_client(scripted, CredentialSource(find)) as client,
        pytest.raises(EnclaveError, match="ExpiredTokenException"),
    ):
        client.ask_enclave(REQUEST)


def test_peer_with_its_own_credentials_is_sent_none(short_dir: Path) -> None:
    seen: list[str] = []
    is_closed = threading.Event()

    def converse(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            seen.append(request["Operation"])
            peer.send({"Status": "Ok", "Message": "AQID"})
            if len(seen) == 2:
                peer.sock.shutdown(socket.SHUT_RDWR)
                is_closed.set()
                return

    with ScriptedEnclave(short_dir, converse) as scripted, EnclaveClient(scripted.address) as client:
        client.leave_credentials_to_peer()
        for _ in range(2):
            assert client.ask_enclave(REQUEST).secret == b"\1\2\3"
        assert is_closed.wait(30)  # so that the third request finds the connection closed
        assert client.ask_enclave(REQUEST).secret == b"\1\2\3"
    assert seen == ["Decrypt"] * 3
    assert scripted.connections == 2
