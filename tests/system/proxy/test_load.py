"""Much data through one connection, many connections at once, and many in sequence."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import queue
import resource
import socket
import threading

from tests.support.proxy.bench import Bench
from tests.support.proxy.processes import PATIENCE_S, Upstream, ask, echo

BULK_MIB = 1_024
AT_ONCE = 2_000
IN_A_ROW = 10_000


def send_blocks(sock: socket.socket, block: bytes) -> None:
    for _ in range(BULK_MIB):
        sock.sendall(block)
    sock.shutdown(socket.SHUT_WR)


def exchange(sock: socket.socket, block: bytes) -> tuple[str, int]:
    """Send ``block`` BULK_MIB times while reading to the end; return hash and size of what arrived."""
    sender = threading.Thread(target=send_blocks, args=(sock, block))
    sender.start()
    digest = hashlib.sha256()
    received = 0
    buffer = memoryview(bytearray(1_048_576))
    while count := sock.recv_into(buffer):
        digest.update(buffer[:count])
        received += count
    sender.join()
    return digest.hexdigest(), received


def hash_of_blocks(block: bytes) -> str:
    digest = hashlib.sha256()
    for _ in range(BULK_MIB):
        digest.update(block)
    return digest.hexdigest()


def test_one_gibibyte_each_way_at_the_same_time_arrives_whole(bench: Bench) -> None:
    up, down = os.urandom(1_048_576), os.urandom(1_048_576)
    at_upstream: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
    with Upstream(lambda client: at_upstream.put(exchange(client, down))) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port)
        at_client = exchange(bench.connect(), up)
        proxy.wait_for(" closed\n")
        # The proxy finishes before the upstream has hashed what is still in its socket.
        assert at_upstream.get(timeout=PATIENCE_S) == (hash_of_blocks(up), BULK_MIB * 1_048_576)
    assert at_client == (hash_of_blocks(down), BULK_MIB * 1_048_576)


def test_two_thousand_connections_at_once_each_get_their_own_bytes(bench: Bench) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        asyncio.run(check_connections_at_once(bench))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def check_connections_at_once(bench: Bench) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()

    all_connected = asyncio.Barrier(AT_ONCE)

    async def visit(number: int) -> None:
        mine = hashlib.shake_128(str(number).encode()).digest(20_000 + number)
        reader, writer = await asyncio.open_unix_connection(str(bench.path))
        with contextlib.closing(writer):
            writer.write(mine[:10])
            assert await reader.readexactly(10) == mine[:10]
            await all_connected.wait()
            writer.write(mine)
            writer.write_eof()
            assert await reader.read(-1) == mine

    async with await asyncio.start_server(serve, "127.0.0.1", 0, backlog=AT_ONCE) as server:
        bench.start("127.0.0.1", server.sockets[0].getsockname()[1])
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for number in range(AT_ONCE):
                group.create_task(visit(number))


def test_ten_thousand_short_connections_leak_nothing(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port)

        def visit(times: int) -> tuple[int, int]:
            for number in range(times):
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(PATIENCE_S)
                    client.connect(str(bench.path))
                    assert ask(client, b"%d" % number) == b"%d" % number
                    client.shutdown(socket.SHUT_WR)
                    assert client.recv(1) == b""
            return proxy.descriptors(), proxy.resident_kib()

        descriptors, resident_kib = visit(IN_A_ROW // 10)
        descriptors_at_end, resident_kib_at_end = visit(IN_A_ROW - IN_A_ROW // 10)
        assert proxy.stop() == 0
        assert proxy.log.count(" closed\n") == IN_A_ROW
    print(f"{descriptors} -> {descriptors_at_end} descriptors, {resident_kib} -> {resident_kib_at_end} KiB")
    assert descriptors_at_end <= descriptors + 2  # the last connections may still be closing
    assert resident_kib_at_end <= resident_kib + 1_024
