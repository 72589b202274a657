"""The NSM's unix socket: frames, many clients, bad clients, and an orderly end."""

from __future__ import annotations

import contextlib
import errno
import socket
import stat
import struct
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cbor2
import pytest

from nitro_simulator.nsm.authority import AttestationAuthority
from nitro_simulator.nsm.server import NsmServer
from nitro_simulator.nsm.service import MAX_REQUEST_BYTES, SimulatedNsm
from vsock_wire.errors import TransportError
from vsock_wire.net.address import UnixAddress

TIMEOUT_S = 20.0
DESCRIBE = cbor2.dumps("DescribeNSM")


@pytest.fixture
def nsm() -> SimulatedNsm:
    return SimulatedNsm(AttestationAuthority.create(), module_id="i-1-enc1")


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nsm", dir="/tmp") as folder:
        yield Path(folder) / "nsm.sock"


@pytest.fixture
def server(nsm: SimulatedNsm, path: Path) -> Iterator[NsmServer]:
    with NsmServer(nsm, UnixAddress(str(path))) as server:
        yield server


def connect(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(TIMEOUT_S)
    sock.connect(str(path))
    return sock


def frame(request: bytes) -> bytes:
    return struct.pack(">I", len(request)) + request


def receive(sock: socket.socket) -> Any:
    stream = sock.makefile("rb", buffering=0)
    (length,) = struct.unpack(">I", _exactly(stream, 4))
    return cbor2.loads(_exactly(stream, length))


def _exactly(stream: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = stream.read(size - len(data))
        assert chunk, "the server closed the connection"
        data += chunk
    return data


def ask(sock: socket.socket, request: object) -> Any:
    sock.sendall(frame(cbor2.dumps(request)))
    return receive(sock)


def is_disconnected(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:  # instead, if the server had not read everything yet
        return True


def test_each_response_has_its_own_frame(server: NsmServer, path: Path) -> None:
    assert server.address == UnixAddress(str(path))
    with connect(path) as sock:
        assert ask(sock, "DescribeNSM")["DescribeNSM"]["module_id"] == "i-1-enc1"
        assert len(ask(sock, "GetRandom")["GetRandom"]["random"]) == 256
        assert "Attestation" in ask(sock, {"Attestation": {"public_key": bytes(1_024)}})


@pytest.mark.usefixtures("server")
def test_requests_sent_at_once_are_answered_in_order(path: Path) -> None:
    with connect(path) as sock:
        sock.sendall(frame(DESCRIBE) + frame(cbor2.dumps("GetRandom")) + frame(b""))
        assert [next(iter(receive(sock))) for _ in range(3)] == ["DescribeNSM", "GetRandom", "Error"]


@pytest.mark.usefixtures("server")
def test_request_that_arrives_byte_by_byte_is_answered(path: Path) -> None:
    with connect(path) as sock:
        for byte in frame(DESCRIBE):
            sock.sendall(bytes([byte]))
        assert "DescribeNSM" in receive(sock)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("size", [MAX_REQUEST_BYTES + 1, 1_000_000])
def test_request_over_the_limit_is_refused_and_the_stream_stays_in_sync(path: Path, size: int) -> None:
    with connect(path) as sock:
        sock.sendall(frame(bytes(size)) + frame(DESCRIBE))
        assert receive(sock) == {"Error": "InputTooLarge"}
        assert "DescribeNSM" in receive(sock)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    "sent", [b"", b"\0\0", b"\0\0\0\x05ab", b"\xff\xff\xff\xff", struct.pack(">I", 9_000) + bytes(8_000)]
)
def test_client_that_leaves_in_the_middle_of_a_request_hurts_nobody(path: Path, sent: bytes) -> None:
    with connect(path) as witness:
        with connect(path) as sock:
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
        assert "DescribeNSM" in ask(witness, "DescribeNSM")


@pytest.mark.usefixtures("server")
def test_client_that_never_reads_delays_nobody(path: Path) -> None:
    with connect(path) as deaf, connect(path) as witness:
        deaf.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:  # until unread responses have filled the buffers in both directions
                deaf.send(frame(DESCRIBE) * 100)
        assert "DescribeNSM" in ask(witness, "DescribeNSM")


@pytest.mark.usefixtures("server")
def test_client_that_leaves_without_reading_delays_nobody(path: Path) -> None:
    for _ in range(20):
        with connect(path) as sock:
            sock.sendall(frame(DESCRIBE) * 50)
    with connect(path) as witness:
        assert "DescribeNSM" in ask(witness, "DescribeNSM")


@pytest.mark.usefixtures("server")
def test_many_clients_at_once_share_one_module(path: Path) -> None:
    everyone = threading.Barrier(16)

    def extend(_: int) -> bytes:
        with connect(path) as sock:
            everyone.wait(TIMEOUT_S)
            value = ask(sock, {"ExtendPCR": {"index": 16, "data": b"x"}})["ExtendPCR"]["data"]
        assert isinstance(value, bytes)
        return value

    with ThreadPoolExecutor(16) as pool:
        values = set(pool.map(extend, range(16)))
    assert len(values) == 16  # each saw a different state: no update was lost
    with connect(path) as sock:
        assert ask(sock, {"DescribePCR": {"index": 16}})["DescribePCR"]["data"] in values


def test_close_disconnects_clients_removes_the_socket_and_ends_its_threads(nsm: SimulatedNsm, path: Path) -> None:
    before = set(threading.enumerate())
    server = NsmServer(nsm, UnixAddress(str(path)))
    server.start()
    with connect(path) as idle, connect(path) as halfway:
        halfway.sendall(b"\0\0\0\x05")
        assert "DescribeNSM" in ask(idle, "DescribeNSM")
        server.close()
        assert is_disconnected(idle)
        assert is_disconnected(halfway)
    assert not path.exists()
    assert set(threading.enumerate()) <= before
    server.close()


def test_failed_accept_is_retried(nsm: SimulatedNsm, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accept, failures = socket.socket.accept, iter([OSError(errno.EMFILE, "Too many open files")])

    def sometimes(listener: socket.socket) -> tuple[socket.socket, Any]:
        for failure in failures:
            raise failure
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", sometimes)
    with NsmServer(nsm, UnixAddress(str(path))), connect(path) as sock:
        assert "DescribeNSM" in ask(sock, "DescribeNSM")
    assert next(failures, None) is None


def test_only_the_client_without_a_thread_is_turned_away(
    nsm: SimulatedNsm, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, failures = threading.Thread.start, iter([RuntimeError("can't start new thread")])

    def sometimes(thread: threading.Thread) -> None:
        if thread.name == "nsm-client":
            for failure in failures:
                raise failure
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", sometimes)
    with NsmServer(nsm, UnixAddress(str(path))), connect(path) as first, connect(path) as second:
        assert is_disconnected(first)
        assert "DescribeNSM" in ask(second, "DescribeNSM")


def test_close_before_start_does_nothing(nsm: SimulatedNsm, path: Path) -> None:
    NsmServer(nsm, UnixAddress(str(path))).close()
    assert not path.exists()


def test_server_starts_once(server: NsmServer) -> None:
    with pytest.raises(ValueError, match="once"):
        server.start()


def test_socket_is_for_its_owner_only(server: NsmServer, path: Path) -> None:
    assert server.address.path == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_path_in_use_is_a_transport_error(server: NsmServer, nsm: SimulatedNsm, path: Path) -> None:
    with pytest.raises(TransportError):
        NsmServer(nsm, server.address).start()
    with connect(path) as sock:
        assert "DescribeNSM" in ask(sock, "DescribeNSM")
