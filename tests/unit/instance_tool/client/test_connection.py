from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from instance_tool.client.connection import connect_enclave
from instance_tool.errors import EnclaveError
from tests.support.enclave.scripted_enclave import Message, Peer, ScriptedEnclave
from vsock_wire.errors import TransportError, WireError
from vsock_wire.net.address import UnixAddress
from vsock_wire.protocol.recording import recording
from vsock_wire.protocol.trace import Connected, Opened, Received, Sent, encode_evidence

TIMEOUT_S = 10.0
"""A test that passes never waits this long."""
DECRYPT = {"Operation": "Decrypt", "Ciphertext": "AQID", "TimeoutS": 1, "Accepts": ["digest"]}
OK = {"Status": "Ok", "Message": "AQID"}


def answering(*replies: Message) -> Callable[[Peer], None]:
    """Send one of ``replies`` for each request, then stop."""

    def converse(peer: Peer) -> None:
        for reply in replies:
            peer.receive()
            peer.send(reply)
        peer.receive()

    return converse


def test_one_connection_carries_several_requests_and_replies(short_dir: Path) -> None:
    with ScriptedEnclave(short_dir, answering(OK, {"Status": "Ok", "n": 2})) as enclave:
        connection = connect_enclave(enclave.address, timeout_s=TIMEOUT_S)
        assert connection.exchange(DECRYPT) == OK
        assert connection.exchange({"Operation": "Describe"}) == {"Status": "Ok", "n": 2}
        connection.close()
    assert enclave.connections == 1


def test_replies_to_requests_sent_ahead_are_returned_unchanged(short_dir: Path) -> None:
    refusal = {"Status": "Error", "Message": "no", "Id": "1"}
    with ScriptedEnclave(short_dir, answering({**OK, "Id": "2"}, refusal)) as enclave:
        connection = connect_enclave(enclave.address, timeout_s=TIMEOUT_S)
        for request_id in ("1", "2"):
            connection.send({**DECRYPT, "Id": request_id})
        assert [connection.receive(), connection.receive()] == [{**OK, "Id": "2"}, refusal]
        assert connection.is_open
        connection.close()


@pytest.mark.parametrize(
    ("code", "is_open"), [("AccessDeniedException", True), (None, True), ("TooManyConnections", False)]
)
def test_error_reply_is_raised_and_only_a_busy_enclave_closes(
    short_dir: Path, code: str | None, *, is_open: bool
) -> None:
    with ScriptedEnclave(short_dir, answering({"Status": "Error", "Message": "no", "Code": code})) as enclave:
        connection = connect_enclave(enclave.address, timeout_s=TIMEOUT_S)
        with pytest.raises(EnclaveError, match=r"^no$"):
            connection.exchange(DECRYPT)
        assert connection.is_open is is_open
        connection.close()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n\0", WireError),
        (b'{"Status":"ok"}\0', WireError),
        (b'{"Status":"Ok"', TransportError),
        (b"", TransportError),
    ],
)
def test_invalid_reply_closes_the_connection(short_dir: Path, reply: bytes, error: type[Exception]) -> None:
    def converse(peer: Peer) -> None:
        peer.receive()
        peer.send_bytes(reply)

    with ScriptedEnclave(short_dir, converse) as enclave:
        connection = connect_enclave(enclave.address, timeout_s=TIMEOUT_S)
        with pytest.raises(error):
            connection.exchange(DECRYPT)
        assert not connection.is_open


def test_error_names_the_address_if_nothing_is_listening(short_dir: Path) -> None:
    with pytest.raises(TransportError, match=r"^connect to unix:.*nobody: no such file or directory$"):
        connect_enclave(UnixAddress(str(short_dir / "nobody")), timeout_s=TIMEOUT_S)


class TestTrace:
    def test_steps_of_both_sides_are_recorded_in_order_with_payload_fields_only(self, short_dir: Path) -> None:
        opened = Opened(7, "ab", 1.0)
        asked: list[object] = []

        def converse(peer: Peer) -> None:
            asked.append(peer.receive())
            peer.send({**OK, "Delivery": "reply", "Evidence": encode_evidence([opened])})

        with ScriptedEnclave(short_dir, converse) as enclave, recording() as steps:
            connection = connect_enclave(enclave.address, timeout_s=TIMEOUT_S)
            connection.exchange(DECRYPT)
            connection.close()
        connected, sent, told, received = steps
        assert isinstance(connected, Connected)
        assert connected.peer == str(enclave.address)
        assert isinstance(sent, Sent)
        assert (sent.operation, sent.fields) == ("Decrypt", ("Ciphertext",))
        assert told == opened
        assert isinstance(received, Received)
        assert (received.is_ok, received.fields, received.delivery) == (True, ("Message", "Delivery"), "reply")
        assert asked == [{**DECRYPT, "Explain": True}]

    def test_without_a_recording_the_enclave_is_not_asked_for_its_steps(self, short_dir: Path) -> None:
        asked: list[object] = []

        def converse(peer: Peer) -> None:
            asked.append(peer.receive())
            peer.send(OK)

        with ScriptedEnclave(short_dir, converse) as enclave:
            connection = connect_enclave(enclave.address, timeout_s=TIMEOUT_S)
            connection.exchange(DECRYPT)
            connection.close()
        assert asked == [DECRYPT]
