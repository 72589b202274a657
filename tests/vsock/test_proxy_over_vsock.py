"""vsock-proxy with real AF_VSOCK on one side and TCP on the other, for what unix sockets cannot test."""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.proxy.processes import READY, Proxy, Upstream, ask, echo, read_all, read_exactly
from tests.support.vsock.ports import CID_LOCAL, free_vsock_port
from vsock_wire.errors import ExitCode
from vsock_wire.net.address import VsockAddress
from vsock_wire.net.sockets import connect_socket

TIMEOUT_S = 60.0
ABSENT_CID = 77
MIB = 1_048_576

Start = Callable[..., tuple[Proxy, int]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a proxy from a vsock port to a port of 127.0.0.1; return it and the vsock port."""
    with contextlib.ExitStack() as stack:

        def start_proxy(upstream_port: int, *options: str) -> tuple[Proxy, int]:
            config = tmp_path / "config.yaml"
            config.write_text(f"allowlist: [{{address: 127.0.0.1, port: {upstream_port}}}]\n")
            port = free_vsock_port()
            proxy = stack.enter_context(
                Proxy("--config", str(config), *options, str(port), "127.0.0.1", str(upstream_port))
            )
            proxy.wait_for(READY, timeout_s=TIMEOUT_S)
            return proxy, port

        yield start_proxy


def connect(port: int) -> socket.socket:
    return connect_socket(VsockAddress(CID_LOCAL, port), timeout_s=TIMEOUT_S)


@pytest.mark.parametrize("options", [[], ["--cid", "1"]])
def test_bytes_go_both_ways_and_the_log_names_the_peers_cid(start: Start, options: list[str]) -> None:
    with Upstream(echo) as upstream:
        proxy, port = start(upstream.port, *options)
        with connect(port) as client:
            assert ask(client, b"over vsock") == b"over vsock"
        line = proxy.wait_for("connection from", timeout_s=TIMEOUT_S)
    cid = "1" if options else "any"
    assert re.search(
        rf"connection from cid 1 port \d+: vsock://{cid}:{port} -> 127\.0\.0\.1:{upstream.port}: "
        r"10 bytes to upstream, 10 bytes to client, .* closed\n",
        line,
    )


def test_client_that_half_closes_still_reads_the_response(start: Start) -> None:
    answer = os.urandom(2 * MIB)

    def answer_at_end(client: socket.socket) -> None:
        assert read_all(client) == b"question"
        client.sendall(answer)

    with Upstream(answer_at_end) as upstream:
        _, port = start(upstream.port)
        with connect(port) as client:
            client.sendall(b"question")
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == answer


def test_upstream_that_half_closes_still_reads_the_request(start: Start) -> None:
    question = os.urandom(2 * MIB)
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def end_then_read(client: socket.socket) -> None:
        client.sendall(b"greeting")
        client.shutdown(socket.SHUT_WR)
        received.put(read_all(client))

    with Upstream(end_then_read) as upstream:
        _, port = start(upstream.port)
        with connect(port) as client:
            assert read_all(client) == b"greeting"
            client.sendall(question)
        assert received.get(timeout=TIMEOUT_S) == question


def test_bulk_both_ways_at_the_same_time_arrives_whole(start: Start) -> None:
    """Exceed every buffer, so that the proxy splices from TCP to vsock, or detects that this kernel cannot."""
    data = os.urandom(MIB)
    rounds = 16

    def exchange(sock: socket.socket) -> str:
        def send() -> None:
            for _ in range(rounds):
                sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        digest = hashlib.sha256(read_all(sock)).hexdigest()
        sender.join()
        return digest

    at_upstream: queue.SimpleQueue[str] = queue.SimpleQueue()
    with Upstream(lambda client: at_upstream.put(exchange(client))) as upstream:
        _, port = start(upstream.port)
        with connect(port) as client:
            at_client = exchange(client)
        assert {at_client, at_upstream.get(timeout=TIMEOUT_S)} == {hashlib.sha256(data * rounds).hexdigest()}


def test_stopped_reader_does_not_delay_another_connection(start: Start) -> None:
    flood = os.urandom(MIB) * 8

    def serve(client: socket.socket) -> None:
        if client.recv(5, socket.MSG_PEEK) == b"flood":
            client.recv(5)  # what is left unread turns the close into a reset
            client.sendall(flood)
        else:
            echo(client)

    with Upstream(serve) as upstream:
        _, port = start(upstream.port)
        with connect(port) as stopped, connect(port) as other:
            stopped.sendall(b"flood")
            for _ in range(20):
                assert ask(other, bytes(1_000)) == bytes(1_000)
            assert read_exactly(stopped, len(flood)) == flood


def test_upstream_reset_ends_the_client(start: Start) -> None:
    def reset(client: socket.socket) -> None:
        client.recv(1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    with Upstream(reset) as upstream:
        proxy, port = start(upstream.port)
        with connect(port) as client:
            client.sendall(b"x")
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
        proxy.wait_for("upstream failed: connection reset by peer", timeout_s=TIMEOUT_S)


def test_client_that_vanishes_ends_the_upstream(start: Start) -> None:
    ended = threading.Event()

    def send_for_ever(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client.sendall(bytes(65_536))
        ended.set()

    with Upstream(send_for_ever) as upstream:
        _, port = start(upstream.port)
        with connect(port) as client:
            read_exactly(client, 65_536)
        assert ended.wait(TIMEOUT_S)


@pytest.mark.parametrize("half_closes_first", [False, True])
def test_client_that_has_gone_leaves_its_slot_though_the_upstream_is_silent(
    start: Start, half_closes_first: bool
) -> None:
    """A full close gives neither EPOLLHUP nor an error over vsock: a write of no bytes finds it."""
    at_end, read_out = threading.Event(), threading.Event()

    def say_nothing(client: socket.socket) -> None:
        while client.recv(65_536):
            pass
        read_out.set()
        at_end.wait(TIMEOUT_S)

    with Upstream(say_nothing) as upstream:
        proxy, port = start(upstream.port)
        client = connect(port)
        client.sendall(b"question")
        if half_closes_first:
            client.shutdown(socket.SHUT_WR)
            assert read_out.wait(TIMEOUT_S)
        client.close()
        assert "8 bytes to upstream" in proxy.wait_for(" closed\n", timeout_s=TIMEOUT_S)
        at_end.set()


def test_cid_this_machine_does_not_have_is_refused_with_a_hint(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("allowlist: [{address: 127.0.0.1, port: 1}]\n")
    with Proxy("--config", str(config), "--cid", str(ABSENT_CID), "8000", "127.0.0.1", "1") as proxy:
        assert proxy.wait() == ExitCode.FAILED  # of AWS's command line
        assert "hint: this machine does not have that address: omit the CID" in proxy.log
