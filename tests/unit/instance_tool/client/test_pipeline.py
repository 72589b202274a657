from __future__ import annotations

from pathlib import Path

import pytest

from instance_tool.client.client import EnclaveClient
from instance_tool.client.pipeline import Pipeline
from tests.support.enclave.scripted_enclave import Message, Peer, ScriptedEnclave
from tests.support.kms.decrypting import decrypt_request
from vsock_wire.errors import TransportError, WireError
from vsock_wire.protocol.kms_operations import KmsResult
from vsock_wire.protocol.messages import Credentials

TIMEOUT_S = 10.0
"""A test that passes never waits this long."""


class Enclave:
    """Answers SetClient, and then collects ``size`` requests before it calls ``answer`` with them."""

    def __init__(self, delivery: str, size: int) -> None:
        self.delivery = delivery
        self.size = size
        self.decrypts = 0

    def __call__(self, peer: Peer) -> None:
        while (request := peer.receive_with_id()) is not None:
            if request["Operation"] == "SetClient":
                peer.send({"Status": "Ok", "Protocol": 2, "Delivery": self.delivery, "Id": request["Id"]})
                continue
            self.decrypts += 1
            if peer.number == 1 and self.decrypts > 1:
                self.answer_first_connection(peer, [request, *self._more(peer)])
                return
            peer.send(_ok(request))

    def answer_first_connection(self, peer: Peer, requests: list[Message]) -> None:
        """Close without an answer."""

    def _more(self, peer: Peer) -> list[Message]:
        more = [peer.receive_with_id() for _ in range(self.size - 1)]
        self.decrypts += len(more)
        return [request for request in more if request is not None]


class Reversing(Enclave):
    def answer_first_connection(self, peer: Peer, requests: list[Message]) -> None:
        peer.send(*[_ok(request) for request in reversed(requests)])
        peer.receive()


class Duplicating(Enclave):
    def answer_first_connection(self, peer: Peer, requests: list[Message]) -> None:
        peer.send(_ok(requests[0]), _ok(requests[0]), *[_ok(request) for request in requests[1:]])
        peer.receive()


def _ok(request: Message) -> Message:
    return {"Status": "Ok", "Message": request["Ciphertext"], "Id": request["Id"]}


def outcomes(folder: Path, enclave: Enclave) -> dict[int, object]:
    """Decrypt one ciphertext alone, and then ``size`` ahead; return the outcomes of the latter by number."""
    with ScriptedEnclave(folder, enclave) as scripted:
        client = EnclaveClient(
            scripted.address, credentials=Credentials("AKIDEXAMPLE", "theSecret"), timeout_s=TIMEOUT_S
        )
        pipeline = Pipeline(client)
        pipeline.send(0, decrypt_request(b"\0"))
        assert pipeline.receive()[0] == 0
        for number in range(1, enclave.size + 1):
            pipeline.send(number, decrypt_request(bytes([number])))
        found: dict[int, object] = {}
        while not pipeline.is_empty:
            number, outcome = pipeline.receive()
            assert number not in found
            found[number] = outcome.secret if isinstance(outcome, KmsResult) else outcome
        client.close()
    return found


def test_replies_in_any_order_are_matched_by_id(short_dir: Path) -> None:
    enclave = Reversing("reply", 5)
    assert outcomes(short_dir, enclave) == {number: bytes([number]) for number in range(1, 6)}
    assert enclave.decrypts == 6


def test_duplicated_reply_is_refused_by_its_id_and_gives_no_other_request_a_result(short_dir: Path) -> None:
    found = outcomes(short_dir, Duplicating("reply", 4))
    refused = [number for number, outcome in found.items() if isinstance(outcome, WireError)]
    assert refused == [2]
    assert str(found[2]) == "reply: the Id does not belong to any pending request"
    assert {number: found[number] for number in (1, 3, 4)} == {number: bytes([number]) for number in (1, 3, 4)}


@pytest.mark.parametrize("delivery", ["reply", "digest"])
def test_requests_that_were_pending_when_the_connection_broke_are_repeated(short_dir: Path, delivery: str) -> None:
    assert outcomes(short_dir, Enclave(delivery, 4)) == {number: bytes([number]) for number in range(1, 5)}


def test_requests_that_a_program_may_have_the_results_of_fail_and_are_not_repeated(short_dir: Path) -> None:
    enclave = Enclave("exec", 4)
    found = outcomes(short_dir, enclave)
    assert sorted(found) == [1, 2, 3, 4]
    assert all(isinstance(outcome, TransportError) for outcome in found.values())
    assert enclave.decrypts == 5
