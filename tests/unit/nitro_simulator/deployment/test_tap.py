from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from nitro_simulator.deployment.tap import Tap
from vsock_wire.net.address import TcpAddress


@pytest.fixture
def destination() -> Iterator[TcpAddress]:
    """A server that returns one connection's bytes in capitals, until the client has no more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                while data := sock.recv(1_000):
                    sock.sendall(data.upper())

        thread = threading.Thread(target=serve)
        thread.start()
        yield TcpAddress(*listener.getsockname())
        thread.join(10)
        assert not thread.is_alive()


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1_000), b""))


def test_bytes_pass_in_both_directions_and_are_kept(destination: TcpAddress) -> None:
    with Tap(destination) as tap, socket.create_connection(("127.0.0.1", tap.port), timeout=10) as sock:
        sock.sendall(b"question")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"QUESTION"
        assert tap.captured() == b"questionQUESTION"


def test_close_ends_connections_that_are_open(destination: TcpAddress) -> None:
    with Tap(destination) as tap:
        sock = socket.create_connection(("127.0.0.1", tap.port), timeout=10)
        sock.sendall(b"a")
        assert sock.recv(1) == b"A"
    with sock:
        assert read_all(sock) == b""


def test_client_is_disconnected_if_the_destination_cannot_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = TcpAddress(*closed.getsockname())
    with Tap(address) as tap, socket.create_connection(("127.0.0.1", tap.port), timeout=10) as sock:
        assert read_all(sock) == b""
        assert tap.captured() == b""
