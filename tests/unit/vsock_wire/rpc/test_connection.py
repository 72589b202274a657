from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from vsock_wire.errors import ExitCode, TransportError, WireError
from vsock_wire.protocol.frames import MAX_MESSAGE_BYTES
from vsock_wire.rpc.connection import MessageConnection

TIMEOUT_S = 10.0
"""Passing tests never wait this long."""


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.settimeout(TIMEOUT_S)
        theirs_of[theirs.fileno()] = ours
        yield theirs
    ours.close()


theirs_of: dict[int, socket.socket] = {}


@pytest.fixture
def connection(peer: socket.socket) -> Iterator[MessageConnection]:
    with MessageConnection(theirs_of[peer.fileno()], "the peer") as connection:
        yield connection


def receive(connection: MessageConnection, *, idle: float = TIMEOUT_S, message: float = TIMEOUT_S) -> bytes | None:
    return connection.receive(idle_timeout_s=idle, message_timeout_s=message)


class TestReceive:
    def test_returns_messages_in_order_and_none_at_the_end(
        self, connection: MessageConnection, peer: socket.socket
    ) -> None:
        peer.sendall(b"one\0two\0")
        peer.close()
        assert [receive(connection) for _ in range(3)] == [b"one", b"two", None]

    def test_joins_a_message_that_arrives_byte_by_byte(
        self, connection: MessageConnection, peer: socket.socket
    ) -> None:
        def dribble() -> None:
            for byte in b"message\0":
                peer.sendall(bytes([byte]))

        thread = threading.Thread(target=dribble)
        thread.start()
        assert receive(connection) == b"message"
        thread.join()

    def test_end_in_the_middle_of_a_message_is_an_error(
        self, connection: MessageConnection, peer: socket.socket
    ) -> None:
        peer.sendall(b"half")
        peer.close()
        with pytest.raises(
            TransportError, match=r"^read from the peer: the connection ended in the middle of a message$"
        ):
            receive(connection)

    def test_oversize_message_is_reported_and_the_next_one_read(
        self, connection: MessageConnection, peer: socket.socket
    ) -> None:
        thread = threading.Thread(target=peer.sendall, args=(b"x" * (MAX_MESSAGE_BYTES * 3) + b"\0good\0",))
        thread.start()
        with pytest.raises(WireError, match=r"^Message size too large\.$"):
            receive(connection)
        assert receive(connection) == b"good"
        thread.join()

    def test_silence_ends_after_the_idle_timeout(self, connection: MessageConnection) -> None:
        with pytest.raises(TransportError, match=r"no progress within 0.05 s$") as caught:
            receive(connection, idle=0.05)
        assert caught.value.exit_code is ExitCode.UNREACHABLE

    def test_half_a_message_ends_after_the_message_timeout_not_the_idle_timeout(
        self, connection: MessageConnection, peer: socket.socket
    ) -> None:
        peer.sendall(b"half")
        with pytest.raises(TransportError, match=r"no progress|did not arrive in time"):
            receive(connection, idle=TIMEOUT_S, message=0.05)

    def test_slow_sender_cannot_hold_the_connection(self, connection: MessageConnection, peer: socket.socket) -> None:
        is_over = threading.Event()

        def dribble() -> None:
            for _ in range(1_000):
                if is_over.wait(0.005):
                    return
                peer.sendall(b" ")
            peer.close()

        thread = threading.Thread(target=dribble)
        thread.start()
        with pytest.raises(TransportError, match=r"no progress|did not arrive in time"):
            receive(connection, message=0.1)
        is_over.set()
        thread.join()

    def test_stop_reading_ends_a_wait_but_not_writing(self, connection: MessageConnection, peer: socket.socket) -> None:
        results: list[bytes | None] = []
        thread = threading.Thread(target=lambda: results.append(receive(connection)))
        thread.start()
        connection.stop_reading()
        thread.join(TIMEOUT_S)
        assert results == [None]
        connection.send({"a": 1}, timeout_s=TIMEOUT_S)
        assert peer.recv(100) == b'{"a": 1}\0'

    def test_messages_that_have_arrived_are_still_read_after_stop_reading(
        self, connection: MessageConnection, peer: socket.socket
    ) -> None:
        peer.sendall(b"one\0two\0")
        connection.stop_reading()
        assert [receive(connection) for _ in range(3)] == [b"one", b"two", None]

    def test_close_ends_a_wait(self, connection: MessageConnection) -> None:
        results: list[object] = []

        def wait() -> None:
            try:
                results.append(receive(connection))
            except TransportError as error:
                results.append(error.operation)

        thread = threading.Thread(target=wait)
        thread.start()
        connection.close()
        thread.join(TIMEOUT_S)
        assert results in ([None], ["read from"])


class TestSend:
    def test_writes_one_frame(self, connection: MessageConnection, peer: socket.socket) -> None:
        connection.send({"Status": "Ok", "Message": "\u00e9"}, timeout_s=TIMEOUT_S)
        data = peer.recv(1_000)
        assert data.endswith(b"\0")
        assert json.loads(data[:-1]) == {"Status": "Ok", "Message": "\u00e9"}

    def test_to_a_peer_that_closed_the_connection_is_a_transport_error(
        self, connection: MessageConnection, peer: socket.socket
    ) -> None:
        peer.close()
        with pytest.raises(TransportError, match=r"^write to the peer: broken pipe$"):
            connection.send({"a": 1}, timeout_s=TIMEOUT_S)

    def test_to_a_peer_that_does_not_read_ends_in_time(
        self, connection: MessageConnection, peer: socket.socket
    ) -> None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        theirs_of[peer.fileno()].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        with pytest.raises(TransportError, match=r"^write to the peer: no progress within 0.05 s$"):
            connection.send({"a": "x" * 60_000}, timeout_s=0.05)

    def test_over_the_limit_is_a_wire_error_and_writes_nothing(
        self, connection: MessageConnection, peer: socket.socket
    ) -> None:
        with pytest.raises(WireError):
            connection.send({"a": "x" * MAX_MESSAGE_BYTES}, timeout_s=TIMEOUT_S)
        connection.send({}, timeout_s=TIMEOUT_S)
        assert peer.recv(100) == b"{}\0"


def test_close_can_be_called_twice(connection: MessageConnection) -> None:
    connection.close()
    connection.close()
