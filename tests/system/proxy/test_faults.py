"""What can go wrong around a proxy, and what its users see then."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import queue
import resource
import signal
import socket
import struct
import threading
import time

import pytest

from tests.support.proxy.bench import Bench
from tests.support.proxy.processes import PATIENCE_S, Upstream, ask, closed_port, echo, read_all, read_exactly

READER_STOP_S = float(os.environ.get("PROXY_READER_STOP_S", "3"))
"""How long a reader stops reading. Three seconds show as much as thirty: the kernel's buffers fill up in one."""


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_client_that_half_closes_still_reads_ten_megabytes(bench: Bench) -> None:
    answer = os.urandom(10_000_000)

    def answer_at_end(client: socket.socket) -> None:
        assert read_all(client) == b"question"
        client.sendall(answer)

    with Upstream(answer_at_end) as upstream:
        bench.start("127.0.0.1", upstream.port)
        client = bench.connect()
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert hashlib.sha256(read_all(client)).digest() == hashlib.sha256(answer).digest()


def test_upstream_that_half_closes_still_reads_ten_megabytes(bench: Bench) -> None:
    question = os.urandom(10_000_000)
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def end_then_read(client: socket.socket) -> None:
        client.sendall(b"greeting")
        client.shutdown(socket.SHUT_WR)
        received.put(read_all(client))

    with Upstream(end_then_read) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port)
        client = bench.connect()
        assert read_all(client) == b"greeting"
        client.sendall(question)
        client.close()
        assert proxy.wait_for("10000000 bytes to upstream, 8 bytes to client").endswith(" closed\n")
        assert received.get(timeout=PATIENCE_S) == question


def test_upstream_reset_in_mid_stream_ends_the_connection_and_no_other(bench: Bench) -> None:
    def reset_on_request(client: socket.socket) -> None:
        while data := client.recv(100):
            if data == b"reset":
                reset(client)
                return
            client.sendall(data)

    with Upstream(reset_on_request) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port)
        bystander = bench.connect()
        assert ask(bystander, b"before") == b"before"
        victim = bench.connect()
        assert ask(victim, b"hello") == b"hello"
        victim.sendall(b"reset")
        with contextlib.suppress(ConnectionResetError):
            assert victim.recv(1) == b""
        proxy.wait_for("upstream failed: connection reset by peer")
        assert ask(bystander, b"after") == b"after"


def test_client_over_tcp_sees_the_reset_of_its_upstream(bench: Bench) -> None:
    def reset_on_request(client: socket.socket) -> None:
        client.recv(1)
        reset(client)

    with Upstream(reset_on_request) as upstream:
        bench.allow(("127.0.0.1", upstream.port))
        proxy = bench.run("tcp://127.0.0.1:0", "127.0.0.1", str(upstream.port))
        port = int(proxy.wait_for("tcp://127.0.0.1:").partition("tcp://127.0.0.1:")[2].partition(" ")[0])
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
            client.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                client.recv(1)


def test_client_that_vanishes_ends_the_upstream(bench: Bench) -> None:
    ended = threading.Event()

    def serve(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client.sendall(bytes(65_536))
        ended.set()

    with Upstream(serve) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port)
        client = bench.connect()
        read_exactly(client, 65_536)
        client.close()
        assert ended.wait(PATIENCE_S)
        proxy.wait_for("client failed: ")  # broken pipe or reset: whichever the kernel reports first


def test_refused_upstream_closes_the_client_and_is_logged(bench: Bench) -> None:
    with closed_port() as port:
        proxy = bench.start("127.0.0.1", port)
        assert bench.connect().recv(1) == b""
        assert "connection refused, tried 127.0.0.1" in proxy.wait_for("refused unix:")


def test_upstream_that_never_answers_is_given_up_after_the_connect_timeout(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as fillers:
        port = listener.getsockname()[1]
        for _ in range(4):  # a full backlog drops further SYN packets
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        proxy = bench.start("127.0.0.1", port, "--connect-timeout", "0.3")
        assert bench.connect().recv(1) == b""
        proxy.wait_for("no answer within 0.3 s")


def test_idle_connection_is_closed_and_a_busy_one_is_not(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port, "--idle-timeout", "0.6")
        idle, busy = bench.connect(), bench.connect()
        assert ask(idle, b"x") == b"x"
        idle.setblocking(False)
        while True:
            assert ask(busy, b"y") == b"y"
            try:
                assert idle.recv(1) == b""
                break
            except BlockingIOError:
                continue
        assert "1 bytes to client" in proxy.wait_for("idle: no byte moved for 0.6 s")
        assert ask(busy, b"z") == b"z"


@pytest.mark.alone  # it measures how long answers take
def test_stopped_reader_costs_bounded_memory_and_delays_nobody(bench: Bench) -> None:
    flood_bytes = 64 * 1_048_576
    flood = os.urandom(1_048_576) * 64
    blocked = threading.Event()

    def serve(client: socket.socket) -> None:
        if client.recv(5, socket.MSG_PEEK) == b"flood":
            client.recv(5)
            client.settimeout(READER_STOP_S + PATIENCE_S)
            blocked.set()
            client.sendall(flood)
        else:
            echo(client)

    with Upstream(serve) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port)
        other = bench.connect()
        assert ask(other, b"warm") == b"warm"
        before_kib = proxy.resident_kib()
        stopped = bench.connect()
        stopped.sendall(b"flood")
        assert blocked.wait(PATIENCE_S)
        latencies_s = []
        most_kib = 0
        end = time.monotonic() + READER_STOP_S
        while time.monotonic() < end:
            started = time.monotonic()
            assert ask(other, bytes(1_000)) == bytes(1_000)
            latencies_s.append(time.monotonic() - started)
            most_kib = max(most_kib, proxy.resident_kib())
        latencies_s.sort()
        print(f"median {latencies_s[len(latencies_s) // 2] * 1e3:.2f} ms, worst {latencies_s[-1] * 1e3:.2f} ms,")
        print(f"{most_kib - before_kib} KiB more")
        assert latencies_s[int(len(latencies_s) * 0.99)] < 0.05
        assert most_kib - before_kib < 4_096
        assert hashlib.sha256(read_exactly(stopped, flood_bytes)).digest() == hashlib.sha256(flood).digest()


def test_full_buffers_on_both_sides_do_not_deadlock(bench: Bench) -> None:
    """Both peers send 32 MiB before they read anything: the proxy must stall both and then release both."""
    data = os.urandom(1_048_576)
    rounds = 32
    hashes: dict[str, str] = {}

    def send(sock: socket.socket) -> None:
        for _ in range(rounds):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    def send_while_reading(name: str, sock: socket.socket, both_started: threading.Barrier) -> None:
        sender = threading.Thread(target=send, args=(sock,))
        sender.start()
        both_started.wait(PATIENCE_S)
        full_since = time.monotonic()
        while time.monotonic() - full_since < 0.5 and sender.is_alive():
            sender.join(0.05)
        assert sender.is_alive(), "the buffers on the way have taken all of it; send more"
        digest = hashlib.sha256(read_exactly(sock, rounds * len(data)))
        sender.join(PATIENCE_S)
        hashes[name] = digest.hexdigest()

    barrier = threading.Barrier(2)
    with Upstream(lambda client: send_while_reading("upstream", client, barrier)) as upstream:
        bench.start("127.0.0.1", upstream.port)
        send_while_reading("client", bench.connect(), barrier)
    wanted = hashlib.sha256(data * rounds).hexdigest()
    assert hashes == {"client": wanted, "upstream": wanted}


def test_client_beyond_the_limit_waits_for_a_slot_and_is_refused_after_the_connect_timeout(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port, "-w", "2", "--connect-timeout", "0.5")
        first, second = bench.connect(), bench.connect()
        assert ask(first, b"1") == b"1"
        assert ask(second, b"2") == b"2"
        third = bench.connect()
        assert third.recv(1) == b""
        proxy.wait_for("all connections are in use, and none has ended within 0.5 s")
        fourth = bench.connect()
        fourth.sendall(b"4")
        first.close()
        assert fourth.recv(1) == b"4"
        assert ask(second, b"2") == b"2"


def test_twenty_clients_share_four_slots_and_nobody_is_refused(bench: Bench) -> None:
    """As with AWS's proxy, whose -w has the same meaning."""

    def answer_once(client: socket.socket) -> None:
        client.sendall(client.recv(100))

    with Upstream(answer_once) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port, "-w", "4")
        clients = [bench.connect() for _ in range(20)]
        for number, client in enumerate(clients):
            client.sendall(b"%d" % number)
        for number, client in enumerate(clients):
            assert read_all(client) == b"%d" % number
            client.close()
        proxy.wait_for(" closed\n", times=20)
        assert "refused" not in proxy.log


def test_proxy_out_of_descriptors_refuses_and_recovers(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port)
        _, hard = resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (proxy.descriptors() + 4, hard))
        kept = [bench.connect(), bench.connect()]
        for client in kept:
            assert ask(client, b"x") == b"x"
        for _ in range(3):
            assert bench.connect().recv(1) == b""
        proxy.wait_for("out of file descriptors or memory")
        resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        assert ask(bench.connect(), b"again") == b"again"
        for client in kept:
            assert ask(client, b"still") == b"still"


def test_no_descriptor_for_the_upstream_refuses_and_recovers(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port)
        _, hard = resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (proxy.descriptors() + 1, hard))
        assert bench.connect().recv(1) == b""
        proxy.wait_for(os.strerror(errno.EMFILE).lower())
        resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        assert ask(bench.connect(), b"again") == b"again"


def test_sigterm_lets_what_is_in_flight_finish(bench: Bench) -> None:
    answer = os.urandom(8_000_000)
    go = threading.Event()

    def answer_later(client: socket.socket) -> None:
        assert read_all(client) == b"question"
        assert go.wait(PATIENCE_S)
        client.sendall(answer)

    with Upstream(answer_later) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port, "--drain-timeout", "20")
        clients = [bench.connect() for _ in range(20)]
        for client in clients:
            client.sendall(b"question")
            client.shutdown(socket.SHUT_WR)
        proxy.process.send_signal(signal.SIGTERM)
        proxy.wait_for("draining 20 connections")
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            bench.connect()
        go.set()
        for client in clients:
            assert read_all(client) == answer
        assert proxy.wait() == 0
        assert proxy.log.count(" closed\n") == 20


def test_sigterm_ends_what_does_not_finish_at_the_deadline(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port, "--drain-timeout", "0.2")
        client = bench.connect()
        assert ask(client, b"x") == b"x"
        assert proxy.stop() == 0
        assert client.recv(1) == b""
        assert "stopped: the proxy was stopped" in proxy.log


def test_second_sigterm_ends_the_drain(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port, "--drain-timeout", "600")
        assert ask(bench.connect(), b"x") == b"x"
        proxy.process.send_signal(signal.SIGTERM)
        proxy.wait_for("draining 1 connections")
        assert proxy.stop() == 0


def test_sigint_ends_at_once_with_its_own_exit_code(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port, "--drain-timeout", "600")
        assert ask(bench.connect(), b"x") == b"x"
        assert proxy.stop(signal.SIGINT) == 130
