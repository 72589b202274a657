"""vsock_wire on real AF_VSOCK sockets, where the kernel behaves differently from unix sockets and TCP.

A connection to a listening vsock socket is complete before the server accepts it, so one thread can be both ends. A
connect timeout cannot be tested: CID 1 always answers, and any other CID is refused at once.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.vsock.ports import CID_LOCAL, free_vsock_port
from vsock_wire.errors import ExitCode, TransportError
from vsock_wire.net.address import CID_ANY, VsockAddress, parse_address
from vsock_wire.net.sockets import close_quietly, connect_socket, listen_socket
from vsock_wire.protocol.frames import encode_frame
from vsock_wire.protocol.json_codec import JsonObject, decode_message, encode_message
from vsock_wire.rpc.connection import MessageConnection

TIMEOUT_S = 60.0
"""Generous, because a guest on a loaded machine is slow; nothing here waits for its end."""
ABSENT_CID = 77


@pytest.fixture
def port() -> int:
    return free_vsock_port()


@pytest.fixture
def ends(port: int) -> Iterator[tuple[MessageConnection, MessageConnection]]:
    """A connection's client and server."""
    address = VsockAddress(CID_LOCAL, port)
    with listen_socket(VsockAddress(CID_ANY, port)) as listener:
        client = MessageConnection(connect_socket(address, timeout_s=TIMEOUT_S), address)
        with client, MessageConnection(*listener.accept()) as server:
            yield client, server


def _receive(connection: MessageConnection) -> JsonObject | None:
    frame = connection.receive(idle_timeout_s=TIMEOUT_S, message_timeout_s=TIMEOUT_S)
    return None if frame is None else decode_message(frame)


@pytest.mark.parametrize("listen_cid", ["any", "1"])
def test_connection_to_cid_1_reaches_a_listener_on(listen_cid: str, port: int) -> None:
    with (
        listen_socket(parse_address(f"vsock://{listen_cid}:{port}")) as listener,
        connect_socket(parse_address(f"vsock://1:{port}"), timeout_s=TIMEOUT_S) as client,
    ):
        server, _ = listener.accept()
        with server:
            server.settimeout(TIMEOUT_S)
            client.sendall(b"over vsock")
            assert server.recv(64) == b"over vsock"


def test_server_sees_the_clients_cid_and_port(port: int) -> None:
    with (
        listen_socket(VsockAddress(CID_ANY, port)) as listener,
        connect_socket(VsockAddress(CID_LOCAL, port), timeout_s=TIMEOUT_S) as client,
    ):
        server, peer = listener.accept()
        server.close()
        assert peer == (CID_LOCAL, client.getsockname()[1])


def test_connect_where_nothing_listens_fails_with_a_hint(port: int) -> None:
    with pytest.raises(TransportError, match=rf"^connect to vsock://1:{port}: connection reset by peer$") as caught:
        connect_socket(VsockAddress(CID_LOCAL, port), timeout_s=TIMEOUT_S)
    assert (
        caught.value.hint == "nothing is listening there: check that the program is running and uses this CID and port"
    )
    assert caught.value.exit_code == ExitCode.UNREACHABLE


def test_connect_to_a_cid_that_does_not_exist_names_nitro_cli(port: int) -> None:
    with pytest.raises(TransportError, match=rf"^connect to vsock://{ABSENT_CID}:{port}: ") as caught:
        connect_socket(VsockAddress(ABSENT_CID, port), timeout_s=TIMEOUT_S)
    assert "nitro-cli describe-enclaves" in str(caught.value.hint)


def test_listen_on_a_port_in_use_fails_with_a_hint(port: int) -> None:
    with (
        listen_socket(VsockAddress(CID_ANY, port)),
        pytest.raises(TransportError, match=rf"^listen on vsock://any:{port}: address already in use$") as caught,
    ):
        listen_socket(VsockAddress(CID_ANY, port))
    assert caught.value.hint == "another program is already listening there: stop it or choose another port"


def test_listen_on_a_cid_of_another_machine_fails_with_a_hint(port: int) -> None:
    with pytest.raises(TransportError, match=rf"^listen on vsock://{ABSENT_CID}:{port}: ") as caught:
        listen_socket(VsockAddress(ABSENT_CID, port))
    assert "omit the CID" in str(caught.value.hint)


def test_the_port_of_a_closed_listener_is_free_at_once(port: int) -> None:
    for _ in range(3):
        with (
            listen_socket(VsockAddress(CID_ANY, port)) as listener,
            connect_socket(VsockAddress(CID_LOCAL, port), timeout_s=TIMEOUT_S),
        ):
            listener.accept()[0].close()


def test_messages_go_both_ways(ends: tuple[MessageConnection, MessageConnection]) -> None:
    client, server = ends
    client.send({"Operation": "Describe"}, timeout_s=TIMEOUT_S)
    assert _receive(server) == {"Operation": "Describe"}
    server.send({"Status": "Ok"}, timeout_s=TIMEOUT_S)
    server.send({"Status": "Error"}, timeout_s=TIMEOUT_S)
    assert [_receive(client), _receive(client)] == [{"Status": "Ok"}, {"Status": "Error"}]


def test_a_message_of_almost_64_kib_arrives_whole(ends: tuple[MessageConnection, MessageConnection]) -> None:
    client, server = ends
    message = {"Ciphertext": "A" * 65_000}
    client.send(message, timeout_s=TIMEOUT_S)
    assert _receive(server) == message


def test_half_closed_connection_still_carries_the_reply(port: int) -> None:
    address = VsockAddress(CID_LOCAL, port)
    with listen_socket(VsockAddress(CID_ANY, port)) as listener:
        client = connect_socket(address, timeout_s=TIMEOUT_S)
        with client, MessageConnection(*listener.accept()) as server:
            client.sendall(b'{"Operation":"Describe"}\0')
            client.shutdown(socket.SHUT_WR)
            assert _receive(server) == {"Operation": "Describe"}
            assert _receive(server) is None  # the client's end of stream
            server.send({"Status": "Ok"}, timeout_s=TIMEOUT_S)
            server.close()
            with client.makefile("rb") as stream:
                assert stream.read() == encode_frame(encode_message({"Status": "Ok"}))


def test_peer_that_closes_between_messages_is_an_end_of_stream(
    ends: tuple[MessageConnection, MessageConnection],
) -> None:
    client, server = ends
    client.close()
    assert _receive(server) is None


def test_peer_that_closes_in_a_message_is_an_error(port: int) -> None:
    with listen_socket(VsockAddress(CID_ANY, port)) as listener:
        client = connect_socket(VsockAddress(CID_LOCAL, port), timeout_s=TIMEOUT_S)
        with MessageConnection(*listener.accept()) as server:
            client.sendall(b'{"Operation":')
            close_quietly(client)
            with pytest.raises(TransportError, match="the connection ended in the middle of a message"):
                _receive(server)


def test_silent_peer_causes_an_idle_timeout(ends: tuple[MessageConnection, MessageConnection]) -> None:
    client, _ = ends
    with pytest.raises(TransportError, match=r"^read from vsock://1:[0-9]+: no progress within 0\.05 s$"):
        client.receive(idle_timeout_s=0.05, message_timeout_s=TIMEOUT_S)


def test_peer_that_does_not_read_causes_a_write_timeout(
    ends: tuple[MessageConnection, MessageConnection],
) -> None:
    client, _ = ends

    def send_more_than_the_kernel_holds() -> None:
        for _ in range(1_000):
            client.send({"Ciphertext": "A" * 65_000}, timeout_s=0.05)

    with pytest.raises(TransportError, match=r"^write to vsock://1:[0-9]+: no progress within 0\.05 s$"):
        send_more_than_the_kernel_holds()


def test_write_to_a_peer_that_has_gone_is_an_error_and_no_signal(
    ends: tuple[MessageConnection, MessageConnection],
) -> None:
    client, server = ends
    server.close()
    assert _receive(client) is None  # the close has arrived
    with pytest.raises(TransportError, match=r"^write to vsock://1:"):
        client.send({"Operation": "Describe"}, timeout_s=TIMEOUT_S)


def test_stop_reading_ends_a_receive_in_another_thread(ends: tuple[MessageConnection, MessageConnection]) -> None:
    client, server = ends
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(_receive, server)
        server.stop_reading()
        assert received.result(TIMEOUT_S) is None
    server.send({"Status": "Ok"}, timeout_s=TIMEOUT_S)
    assert _receive(client) == {"Status": "Ok"}
