"""What must not stop a proxy: clients that have gone, full tables, readers that do not read, signals at bad times."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.proxy.bench import Bench
from tests.support.proxy.processes import PATIENCE_S, VSOCK_PROXY, Upstream, ask, echo, read_all
from vsock_proxy.relay.budget import OWN_BYTES, SHARED_BYTES


@contextlib.contextmanager
def upstream_that_never_answers() -> Iterator[int]:
    """Yield a port where connecting never ends: a full backlog drops SYN packets."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as fillers:
        port = listener.getsockname()[1]
        for _ in range(4):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


def test_clients_that_have_gone_leave_their_slots_though_the_upstream_is_silent(bench: Bench) -> None:
    at_end = threading.Event()

    def say_nothing(client: socket.socket) -> None:
        while client.recv(65_536):
            pass
        at_end.wait(PATIENCE_S)

    with Upstream(say_nothing) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port, "-w", "3", "--connect-timeout", "600")
        for _ in range(4):
            clients = [bench.connect() for _ in range(3)]
            for client in clients:
                client.sendall(b"question")
            for client in clients:
                client.close()
        proxy.wait_for(" closed\n", times=12)
        at_end.set()


def test_clients_that_leave_while_their_upstream_is_dialled_leave_their_slots(bench: Bench) -> None:
    with upstream_that_never_answers() as port:
        proxy = bench.start("127.0.0.1", port, "-w", "2", "--connect-timeout", "600")
        for _ in range(3):
            clients = [bench.connect() for _ in range(2)]
            for client in clients:
                client.close()
        proxy.wait_for("the client left before it was connected", times=6)


def test_sigint_ends_at_once_while_clients_wait_for_their_upstream(bench: Bench) -> None:
    with upstream_that_never_answers() as port:
        proxy = bench.start("127.0.0.1", port, "--drain-timeout", "600", "--connect-timeout", "600")
        client = bench.connect()
        assert proxy.stop(signal.SIGINT) == 130
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""


def test_sigterm_serves_every_client_that_already_waits(bench: Bench) -> None:
    """Five hundred of them, in the kernel's queue while the proxy stands still."""

    def answer(client: socket.socket) -> None:
        client.sendall(client.recv(100))

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with Upstream(answer) as upstream:
            proxy = bench.start("127.0.0.1", upstream.port, "--drain-timeout", "60")
            proxy.process.send_signal(signal.SIGSTOP)
            clients = [bench.connect() for _ in range(500)]
            for client in clients:
                client.sendall(b"question")
            proxy.process.send_signal(signal.SIGTERM)
            proxy.process.send_signal(signal.SIGCONT)
            for client in clients:
                assert read_all(client) == b"question"
                client.close()
            assert proxy.wait() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_sigterm_drains_though_no_descriptor_is_free(bench: Bench) -> None:
    is_asked, go = threading.Event(), threading.Event()

    def answer_later(client: socket.socket) -> None:
        client.recv(100)
        is_asked.set()
        assert go.wait(PATIENCE_S)
        client.sendall(b"answer")

    with Upstream(answer_later) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port, "--drain-timeout", "60")
        client = bench.connect()
        client.sendall(b"question")
        assert is_asked.wait(PATIENCE_S)
        _, hard = resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (1, hard))
        proxy.process.send_signal(signal.SIGTERM)
        proxy.wait_for("draining 1 connections")
        go.set()
        assert read_all(client) == b"answer"
        client.close()
        assert proxy.wait() == 0


def test_full_descriptor_table_costs_no_processor_time_and_is_over_when_it_is_over(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port)
        kept = bench.connect()
        assert ask(kept, b"x") == b"x"
        _, hard = resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (3, hard))
        waiting = bench.connect()  # not even the reserve can be opened again, so nobody can be refused
        turns = _voluntary_switches(proxy.process.pid)
        for _ in range(50):
            assert ask(kept, b"still") == b"still"
        assert _voluntary_switches(proxy.process.pid) - turns < 1_000
        resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        waiting.sendall(b"served at last")
        assert waiting.recv(100) == b"served at last"
        assert ask(bench.connect(), b"again") == b"again"


def _voluntary_switches(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def test_standard_error_that_nobody_reads_stops_nothing(bench: Bench) -> None:
    reader, writer = os.pipe()
    with contextlib.closing(os.fdopen(reader, "rb")), Upstream(echo) as upstream:
        bench.allow(("127.0.0.1", upstream.port))
        arguments = ["--config", str(bench.config), f"unix:{bench.path}", "127.0.0.1", str(upstream.port)]
        with subprocess.Popen([VSOCK_PROXY, *arguments], stderr=writer, stdout=subprocess.DEVNULL) as process:
            os.close(writer)
            while not bench.path.exists():
                assert process.poll() is None
            for number in range(600):  # 120 KB of log lines, and the pipe holds 64
                with contextlib.suppress(ConnectionRefusedError), bench.connect() as client:
                    assert ask(client, b"%d" % number) == b"%d" % number
            process.send_signal(signal.SIGHUP)
            with bench.connect() as client:
                assert ask(client, b"after") == b"after"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0


def test_relay_goes_on_while_a_large_configuration_is_read(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port)
        bench.allow(("127.0.0.1", upstream.port), *((f"h{number}.example.com", 443) for number in range(10_000)))
        client = bench.connect()
        proxy.process.send_signal(signal.SIGHUP)
        served = 0
        while "reloaded" not in proxy.log:
            assert ask(client, b"x") == b"x"
            served += 1
            assert proxy.process.poll() is None
        assert served > 100
        assert "10001 entries" in proxy.wait_for("reloaded")


def test_clients_that_push_to_an_upstream_that_does_not_read_cost_bounded_memory_and_give_it_back(bench: Bench) -> None:
    number_of_clients = 300
    closing = threading.Event()

    def read_nothing(client: socket.socket) -> None:
        closing.wait(PATIENCE_S * 3)
        client.close()

    with Upstream(read_nothing) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port, "--idle-timeout", "40")
        before_kib = proxy.resident_kib()
        clients = [bench.connect() for _ in range(number_of_clients)]
        pushed = 0
        for client in clients:
            client.setblocking(False)
        progress = True
        while progress:
            progress = False
            for client in clients:
                with contextlib.suppress(BlockingIOError):
                    pushed += client.send(bytes(1_048_576))
                    progress = True
        grown_kib = proxy.resident_kib() - before_kib
        for client in clients:
            client.close()
        closing.set()
        proxy.wait_for("connection from", times=number_of_clients)
        until_s = time.monotonic() + PATIENCE_S  # the next sweep gives it back
        while proxy.resident_kib() - before_kib > 8_192 and time.monotonic() < until_s:
            time.sleep(0.1)
        left_kib = proxy.resident_kib() - before_kib
    print(f"{pushed / 1_048_576:.0f} MiB pushed, {grown_kib} KiB more resident, {left_kib} KiB at the end")
    cap_kib = (SHARED_BYTES + 2 * OWN_BYTES * number_of_clients) // 1_024
    assert grown_kib < cap_kib + 8_192  # the rest is what the interpreter needs for 300 connections
    assert left_kib <= 8_192


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_socket_file_that_another_process_has_put_in_its_place_stays(bench: Bench, number: signal.Signals) -> None:
    with Upstream(echo) as upstream, socket.socket(socket.AF_UNIX) as other:
        proxy = bench.start("127.0.0.1", upstream.port)
        bench.path.unlink()
        other.bind(str(bench.path))
        other.listen()
        assert proxy.stop(number) in (0, 130)
        bench.connect()
