"""What bench/proxy.py lets each proxy do: short connections, round trips, bulk data, and idling."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import Process, get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path

from bench.proxy_contestants import Contestant, process_group, running

BULK_MIB = 512
CONNECTIONS = 8_000
CLIENTS = 4
ROUND_TRIPS = 8_000
IDLE = 1_000
MIB = 1_048_576
SETTLE_S = 0.1
"""After the last connection, so that its end is counted too."""


def connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    return sock


def bulk(contestant: Contestant, connections: int, *, upload: bool) -> float:
    """Return MiB/s of all connections together."""
    with socket.create_server(("127.0.0.1", 0)) as far, running(contestant, far.getsockname()[1]) as (path, _):
        clients, servers = [], []
        for _ in range(connections):
            clients.append(connect(path))
            servers.append(far.accept()[0])
        sources, sinks = (clients, servers) if upload else (servers, clients)
        mib = BULK_MIB // connections
        sender = get_context("fork").Process(target=in_threads, args=(send_all, [(sock, mib) for sock in sources]))
        totals: list[int] = []
        started = time.perf_counter()
        sender.start()
        for sock in sources:
            sock.close()
        in_threads(receive_all, [(sock, totals) for sock in sinks])
        elapsed = time.perf_counter() - started
        for sock in sinks:
            sock.close()
        sender.join()
        assert totals == [mib * MIB] * connections, (contestant.name, totals)
        return mib * connections / elapsed


def in_threads(work: Callable[..., object], arguments: list[tuple[object, ...]]) -> None:
    threads = [threading.Thread(target=work, args=each) for each in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def send_all(sock: socket.socket, mib: int) -> None:
    block = os.urandom(MIB)
    with contextlib.suppress(OSError):
        for _ in range(mib):
            sock.sendall(block)
        sock.shutdown(socket.SHUT_WR)


def receive_all(sock: socket.socket, totals: list[int]) -> None:
    buffer = bytearray(MIB)
    total = 0
    while count := sock.recv_into(buffer):
        total += count
    totals.append(total)


@contextlib.contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Run an upstream in a process of its own; yield its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=1_024) as far:
        server = get_context("fork").Process(target=serve, args=(far,))
        server.start()
        try:
            yield far.getsockname()[1]
        finally:
            server.kill()
            server.join()


def answer_once(listener: socket.socket) -> None:
    while True:
        with listener.accept()[0] as client, contextlib.suppress(OSError):
            client.sendall(client.recv(100))


def echo_one(listener: socket.socket) -> None:
    with listener.accept()[0] as client:
        while data := client.recv(1_000):
            client.sendall(data)


def visit(path: str, times: int, failures: SimpleQueue[int]) -> None:
    failed = 0
    for _ in range(times):
        try:
            with connect(path) as sock:
                sock.sendall(b"question")
                failed += sock.recv(100) != b"question"
        except OSError:
            failed += 1
    failures.put(failed)


def short_connections(contestant: Contestant) -> tuple[float, float]:
    """Return connections per second, each with one request and one response, and microseconds of processor time."""
    context = get_context("fork")
    failures: SimpleQueue[int] = context.SimpleQueue()
    with serving(answer_once) as port, running(contestant, port) as (path, pid):
        visitors: list[Process] = [
            context.Process(target=visit, args=(path, CONNECTIONS // CLIENTS, failures))  # type: ignore[misc]
            for _ in range(CLIENTS)
        ]
        used_s = processor_time_s(pid)
        started = time.perf_counter()
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()
        elapsed_s = time.perf_counter() - started
        time.sleep(SETTLE_S)
        used_s = processor_time_s(pid) - used_s
    failed = sum(failures.get() for _ in visitors)
    assert failed == 0, f"{failed} of {CONNECTIONS} connections failed"
    return CONNECTIONS / elapsed_s, used_s / CONNECTIONS * 1e6


def keep_alive(contestant: Contestant) -> tuple[float, float]:
    """Return p50 and p99 of round trips on one connection, in microseconds."""
    taken = []
    with serving(echo_one) as port, running(contestant, port) as (path, _), connect(path) as sock:
        for _ in range(ROUND_TRIPS):
            started = time.perf_counter()
            sock.sendall(b"q" * 200)
            left = 200
            while left:
                left -= len(sock.recv(left))
            taken.append(time.perf_counter() - started)
    taken.sort()
    return taken[len(taken) // 2] * 1e6, taken[len(taken) * 99 // 100] * 1e6


def idle_memory(contestant: Contestant) -> float:
    """Return MiB of resident memory (PSS) of all its processes at IDLE connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=1_024) as far, contextlib.ExitStack() as stack:
        path, pid = stack.enter_context(running(contestant, far.getsockname()[1]))
        far.settimeout(5)
        for _ in range(IDLE):
            client = stack.enter_context(connect(path))
            client.settimeout(5)
            client.sendall(b"x")
            server = stack.enter_context(far.accept()[0])
            assert server.recv(1) == b"x"
        return sum(map(proportional_kib, process_group(pid))) / 1_024


def proportional_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def processor_time_s(group: int) -> float:
    """Return the processor time of the processes of a group and of those that they have waited for."""
    ticks = 0
    for pid in process_group(group):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")
