from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from instance_tool.client.client import EnclaveClient
from instance_tool.client.pool import EnclavePool
from instance_tool.credentials.found import FoundCredentials
from instance_tool.credentials.source import CredentialSource
from instance_tool.errors import EnclaveError
from instance_tool.local_service import session as serving
from instance_tool.local_service.session import LocalSession, ServedEnclave
from tests.support.enclave.scripted_enclave import Conversation, Message, Peer, ScriptedEnclave
from vsock_wire.errors import CredentialsError, ExitCode
from vsock_wire.net.address import UnixAddress
from vsock_wire.protocol.json_codec import encode_message
from vsock_wire.protocol.messages import Credentials, ErrorReply, parse_reply

OWN = Credentials("AKIDOWN", "theOwnSecret", "theOwnToken")
DECRYPT = {"Operation": "Decrypt", "Ciphertext": "AQID", "EncryptionContext": {"a": "1"}}
SET_CLIENT = {"Operation": "SetClient", "AwsAccessKeyId": "AKIDTHEIRS", "AwsSecretAccessKey": "theirSecret"}

Ask = Callable[..., Message]


class Enclave:
    """Answers every request with the one of ``replies`` for its operation, and remembers all requests."""

    def __init__(self) -> None:
        self.requests: list[Message] = []
        self.replies: dict[str, Message | None] = {
            "SetClient": {"Status": "Ok", "Protocol": 2, "Delivery": "reply"},
            "Decrypt": {"Status": "Ok", "Message": "AQID", "KeyId": "k", "Future": {"x": 1}},
            "Describe": {"Status": "Ok", "Version": "1", "Region": None},
        }

    def __call__(self, peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            self.requests.append(request)
            reply = self.replies.get(request["Operation"], {"Status": "Error", "Message": "Operation not recognized"})
            if reply is None:
                return
            peer.send(reply)

    @property
    def operations(self) -> list[str]:
        return [request["Operation"] for request in self.requests]


@pytest.fixture
def enclave() -> Enclave:
    return Enclave()


def session(
    address: UnixAddress, find: Callable[[], FoundCredentials] | None = None, *, region: str | None = "eu-west-1"
) -> tuple[LocalSession, EnclavePool]:
    source = CredentialSource(find or (lambda: FoundCredentials(OWN, "the test")))

    def new_client() -> EnclaveClient:
        client = EnclaveClient(address, timeout_s=10.0)
        client.set_credentials(source, region)
        return client

    pool = EnclavePool(new_client, size=1)
    return LocalSession(ServedEnclave(pool, region, source=source)), pool


@pytest.fixture
def ask(short_dir: Path, enclave: Enclave) -> Iterator[Ask]:
    with ScriptedEnclave(short_dir, enclave) as scripted:
        local, pool = session(scripted.address)

        def ask(request: Any) -> Message:
            return local.take(request if isinstance(request, bytes) else json.dumps(request).encode()).answer()

        yield ask
        pool.close()


def failure(reply: Message) -> ErrorReply:
    parsed = parse_reply(reply)
    assert isinstance(parsed, ErrorReply)
    return parsed


def test_clients_time_limit_for_kms_is_passed_on(ask: Ask, enclave: Enclave) -> None:
    ask({**DECRYPT, "TimeoutS": 2.5})
    assert enclave.requests[1]["TimeoutS"] == 2.5


def test_request_and_reply_are_passed_on_unchanged_with_the_credentials_held_here(ask: Ask, enclave: Enclave) -> None:
    assert ask(DECRYPT) == enclave.replies["Decrypt"]
    assert enclave.requests[1] == {"TimeoutS": 9.0, **DECRYPT}
    assert enclave.requests[0] == {
        "Operation": "SetClient",
        "AwsAccessKeyId": "AKIDOWN",
        "AwsSecretAccessKey": "theOwnSecret",
        "AwsSessionToken": "theOwnToken",
        "AwsRegion": "eu-west-1",
    }


def test_credentials_are_sent_once(ask: Ask, enclave: Enclave) -> None:
    for _ in range(5):
        ask(DECRYPT)
    assert enclave.operations == ["SetClient", *["Decrypt"] * 5]


@pytest.mark.parametrize("request_id", ["", "a-1", "x" * 64])
def test_id_is_echoed_and_stays_here(ask: Ask, enclave: Enclave, request_id: str) -> None:
    assert ask({**DECRYPT, "Id": request_id})["Id"] == request_id
    assert ask({"Operation": "Nothing", "Id": request_id})["Id"] == request_id
    assert all("Id" not in request for request in enclave.requests)


def test_set_client_is_answered_here_and_its_credentials_go_nowhere(ask: Ask, enclave: Enclave) -> None:
    reply = ask(SET_CLIENT)
    assert (reply["Status"], reply["Protocol"], reply["CredentialsHeld"]) == ("Ok", 2, True)
    ask(DECRYPT)
    assert "theirSecret" not in json.dumps(enclave.requests)


@pytest.mark.parametrize(("region", "is_taken"), [(None, True), ("", True), ("eu-west-1", True), ("eu-west-2", False)])
def test_client_may_only_ask_for_the_served_region(ask: Ask, region: str | None, *, is_taken: bool) -> None:
    reply = ask({**SET_CLIENT, "AwsRegion": region})
    assert (reply["Status"] == "Ok") is is_taken
    if not is_taken:
        assert failure(reply).code == "RegionConflict"


def test_describe_returns_the_enclaves_description_and_that_credentials_are_held(ask: Ask) -> None:
    assert ask({"Operation": "Describe"}) == {
        "Status": "Ok",
        "Version": "1",
        "Region": "eu-west-1",
        "CredentialsHeld": True,
    }


def test_describe_does_not_ask_kmstool_in_c(short_dir: Path) -> None:
    _, pool = session(UnixAddress(str(short_dir / "nobody")))
    local = LocalSession(ServedEnclave(pool, None, is_legacy_enclave=True))
    assert local.take(b'{"Operation":"Describe"}').answer() == {
        "Status": "Ok",
        "Protocol": 2,
        "Region": None,
        "CredentialsHeld": True,
    }


def test_error_reply_of_the_enclave_is_passed_on_unchanged(ask: Ask, enclave: Enclave) -> None:
    refusal = {
        "Status": "Error",
        "Message": "Could not decrypt ciphertext: AccessDeniedException: no",
        "Code": "AccessDeniedException",
        "Reason": "NoSessionPolicyAllows",
        "Service": "kms",
        "HttpStatus": 400,
        "RequestId": "r-1",
        "Hint": "look",
    }
    enclave.replies["Decrypt"] = refusal
    assert ask(DECRYPT) == refusal


def test_what_kmstool_in_c_would_ignore_is_refused_with_a_code_of_its_own(short_dir: Path) -> None:
    conversation = Conversation(is_c=True)
    with ScriptedEnclave(short_dir, conversation) as scripted:
        _, pool = session(scripted.address)
        local = LocalSession(ServedEnclave(pool, None, is_legacy_enclave=True))
        reply = failure(local.take(encode_message({**DECRYPT, "KeyId": "alias/other"})).answer())
        pool.close()
    assert (reply.code, reply.service) == ("UnsupportedByEnclave", "instance")
    assert "ignores the key ID" in reply.message
    assert conversation.operations == [(1, "Describe")]


def test_broken_connection_is_reopened_once(ask: Ask, enclave: Enclave) -> None:
    ask(DECRYPT)
    working, enclave.replies["Decrypt"] = enclave.replies["Decrypt"], None
    reply = failure(ask(DECRYPT))
    assert (reply.code, reply.service) == ("EnclaveUnreachable", "instance")
    assert enclave.operations == ["SetClient", "Decrypt", "Decrypt", "SetClient", "Decrypt"]
    enclave.replies["Decrypt"] = working
    assert ask(DECRYPT)["Status"] == "Ok"


def test_unreachable_enclave_is_reported_after_kmstools_text(short_dir: Path) -> None:
    local, _ = session(UnixAddress(str(short_dir / "nobody")))
    reply = failure(local.take(json.dumps(DECRYPT).encode()).answer())
    assert reply.message.startswith(f"Could not decrypt ciphertext: connect to unix:{short_dir}/nobody: ")
    assert EnclaveError(reply).exit_code is ExitCode.UNREACHABLE
    assert failure(local.take(b'{"Operation":"Describe"}').answer()).code == "EnclaveUnreachable"


def test_missing_credentials_are_named(short_dir: Path) -> None:
    def find() -> FoundCredentials:
        raise CredentialsError("IMDS: the instance has no role", hint="attach one")

    local, _ = session(UnixAddress(str(short_dir / "nobody")), find)
    reply = failure(local.take(json.dumps(DECRYPT).encode()).answer())
    assert (reply.message, reply.hint) == (
        "Could not decrypt ciphertext: IMDS: the instance has no role",
        "attach one",
    )
    assert EnclaveError(reply).exit_code is ExitCode.NO_CREDENTIALS


def test_client_waits_for_credentials_as_long_as_it_says_and_holds_no_connection_meanwhile(short_dir: Path) -> None:
    may_answer = threading.Event()

    def find() -> FoundCredentials:
        may_answer.wait(60)
        return FoundCredentials(OWN, "the test")

    local, pool = session(UnixAddress(str(short_dir / "nobody")), find)
    replies: list[Message] = []
    patient = threading.Thread(target=lambda: replies.append(local.take(json.dumps(DECRYPT).encode()).answer()))
    patient.start()
    with pool.lend():  # the only one
        reply = failure(local.take(json.dumps({**DECRYPT, "TimeoutS": 0.05}).encode()).answer())
        assert (reply.code, reply.service) == ("NoCredentials", "instance")
        assert "no AWS credentials yet after 0.05 s" in reply.message
    may_answer.set()
    patient.join(60)
    assert replies[0]["Code"] == "EnclaveUnreachable"


def test_garbage_from_the_enclave_is_not_blamed_on_the_client(ask: Ask, enclave: Enclave) -> None:
    enclave.replies["Decrypt"] = {"Status": "Perhaps"}
    assert failure(ask(DECRYPT)).code == "EnclaveUnreadable"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"", "Error reading JSON object"),
        (b"[]", "JSON is wrong type"),
        (b"{}", "JSON structure incomplete"),
        (b'{"Operation":1}', "Operation is wrong type"),
        (b'{"Operation":"Nothing"}', "Operation not recognized"),
        (b'{"Operation":"Describe","Id":1}', "Id is wrong type"),
    ],
)
def test_invalid_request_is_refused_with_kmstools_text_without_asking_the_enclave(
    ask: Ask, enclave: Enclave, frame: bytes, message: str
) -> None:
    assert failure(ask(frame)).message == message
    assert enclave.requests == []


def test_reply_to_an_internal_error_does_not_contain_its_text(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_message: Message) -> None:
        raise KeyError("the secret")

    monkeypatch.setattr(serving, "parse_operation", fail)
    assert failure(ask({**DECRYPT, "Id": "1"})).code == "InternalError"
    assert "the secret" not in caplog.text
