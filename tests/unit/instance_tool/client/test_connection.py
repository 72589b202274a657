from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from instance_tool.client.connection import connect_enclave
from instance_tool.errors import EnclaveError
from tests.support.enclave.scripted_enclave import Message, Peer, ScriptedEnclave
from tests.support.instance.other_user import OTHER_UID, foreign_listener
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
        assert [connection.send(DECRYPT) for _ in range(2)] == ["1", "2"]
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


class TestIds:
    def test_every_request_has_one_of_its_own(self, short_dir: Path) -> None:
        seen: list[object] = []

        def converse(peer: Peer) -> None:
            while (request := peer.receive_with_id()) is not None:
                seen.append(request["Id"])
                peer.send({**OK, "Id": request["Id"]})

        with ScriptedEnclave(short_dir, converse) as enclave:
            connection = connect_enclave(enclave.address, timeout_s=TIMEOUT_S)
            replies = [connection.exchange(DECRYPT) for _ in range(3)]
            connection.close()
        assert replies == [OK] * 3
        assert len(set(seen)) == 3

    @pytest.mark.parametrize("reply_id", ["0", "2", "", " 1", 1, True, ["1"], {}], ids=repr)
    def test_reply_with_another_is_refused_and_closes_the_connection(self, short_dir: Path, reply_id: object) -> None:
        with ScriptedEnclave(short_dir, answering({**OK, "Id": reply_id})) as enclave:
            connection = connect_enclave(enclave.address, timeout_s=TIMEOUT_S)
            with pytest.raises(WireError, match=r"^reply: its Id is not that of the request$"):
                connection.exchange(DECRYPT)
            assert not connection.is_open

    def test_result_without_one_is_refused_unless_the_peer_announced_no_protocol(self, short_dir: Path) -> None:
        set_client = {"Operation": "SetClient"}
        for announced, is_accepted in (({}, True), ({"Protocol": 2}, False)):

            def converse(peer: Peer, announced: Message = announced) -> None:
                peer.repeats_ids = False
                peer.receive()
                peer.send({"Status": "Ok", **announced})
                if peer.receive() is not None:
                    peer.send(OK)

            with ScriptedEnclave(short_dir, converse) as enclave:
                connection = connect_enclave(enclave.address, timeout_s=TIMEOUT_S)
                if is_accepted:
                    assert connection.exchange(set_client) == {"Status": "Ok"}
                    assert connection.exchange(DECRYPT) == OK
                else:
                    with pytest.raises(WireError, match="its Id is not that of the request"):
                        connection.exchange(set_client)
                connection.close()
            (short_dir / "enclave").unlink()

    def test_error_without_one_is_raised_and_closes_the_connection(self, short_dir: Path) -> None:
        def converse(peer: Peer) -> None:
            peer.repeats_ids = False
            peer.receive()
            peer.send({"Status": "Error", "Message": "no"})

        with ScriptedEnclave(short_dir, converse) as enclave:
            connection = connect_enclave(enclave.address, timeout_s=TIMEOUT_S)
            with pytest.raises(EnclaveError, match=r"^no$"):
                connection.exchange(DECRYPT)
            assert not connection.is_open

    def test_late_reply_is_refused(self, short_dir: Path) -> None:
        """The second copy of the first reply arrives when the second request has been sent."""

        def converse(peer: Peer) -> None:
            first = peer.receive_with_id()
            assert first is not None
            peer.send({**OK, "Id": first["Id"]})
            peer.receive()
            peer.send({"Status": "Ok", "Message": "c2VjcmV0", "Id": first["Id"]})

        with ScriptedEnclave(short_dir, converse) as enclave:
            connection = connect_enclave(enclave.address, timeout_s=TIMEOUT_S)
            assert connection.exchange(DECRYPT) == OK
            with pytest.raises(WireError, match="its Id is not that of the request") as caught:
                connection.exchange(DECRYPT)
            assert "c2VjcmV0" not in f"{caught.value!r} {caught.value.hint}"
            assert not connection.is_open

    @pytest.mark.parametrize(
        "duplicate", [b'{"Status":"Ok","Message":"AQID","Id":"1"}\0', b'{"Status":"Ok"', b"\0", b"x"]
    )
    def test_bytes_before_a_request_close_the_connection_unsent(self, short_dir: Path, duplicate: bytes) -> None:
        asked: list[object] = []
        is_duplicated = threading.Event()

        def converse(peer: Peer) -> None:
            asked.append(peer.receive())
            peer.send(OK)
            peer.send_bytes(duplicate)
            is_duplicated.set()
            asked.append(peer.receive())

        with ScriptedEnclave(short_dir, converse) as enclave:
            connection = connect_enclave(enclave.address, timeout_s=0.2)
            connection.exchange(DECRYPT)
            assert is_duplicated.wait(TIMEOUT_S)
            assert not connection.is_quiet
            with pytest.raises((WireError, TransportError)):
                connection.exchange(DECRYPT)
            assert not connection.is_open
        assert asked == [DECRYPT, None]


class TestListener:
    def test_of_another_user_is_refused_unless_that_user_is_trusted(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        short_dir.chmod(0o755)
        if os.geteuid() != 0:  # only root can become a second user
            monkeypatch.setattr("instance_tool.client.connection.peer_uid", lambda _sock: OTHER_UID)
        with foreign_listener(short_dir) as address:
            with pytest.raises(TransportError, match=f"user {OTHER_UID} listens there, not root") as caught:
                connect_enclave(address, timeout_s=TIMEOUT_S)
            assert f"--trust-uid {OTHER_UID}" in (caught.value.hint or "")
            connect_enclave(address, timeout_s=TIMEOUT_S, trusted_uids=(OTHER_UID,)).close()

    @pytest.mark.parametrize("owner", ["root", "this user"])
    def test_of_root_and_of_this_user_is_trusted(
        self, short_dir: Path, owner: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uid = 0 if owner == "root" else os.geteuid()
        monkeypatch.setattr("instance_tool.client.connection.peer_uid", lambda _sock: uid)
        with ScriptedEnclave(short_dir, answering(OK)) as enclave:
            connect_enclave(enclave.address, timeout_s=TIMEOUT_S).close()


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
