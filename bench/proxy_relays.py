"""Compare ways to relay bytes in Python on Linux: `python bench/proxy_relays.py [MIB]`.

Results: docs/explanation/proxy-relay.md.

Each candidate relays a unix socket to TCP in its own process, as vsock-proxy does with a vsock; the sender and the
receiver are two more processes. CPU is the relay's, user and system, per GiB.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import resource
import select
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing import Process, get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path

PIPE_BYTES = 1_048_576
F_SETPIPE_SZ = 1031
ROUNDS = 3


async def relay_streams(client: socket.socket, upstream: socket.socket) -> None:
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(262_144):
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    near_reader, near_writer = await asyncio.open_unix_connection(sock=client, limit=262_144)
    far_reader, far_writer = await asyncio.open_connection(sock=upstream, limit=262_144)
    await asyncio.gather(pump(near_reader, far_writer), pump(far_reader, near_writer))
    near_writer.close()
    far_writer.close()


class CopyMover:
    """recv_into and send through one shared buffer."""

    def __init__(self, chunk_bytes: int) -> None:
        self.buffer = memoryview(bytearray(chunk_bytes))
        self.held = memoryview(b"")

    def read(self, source: socket.socket) -> int:
        count = source.recv_into(self.buffer)
        self.held = self.buffer[:count]
        return count

    def write(self, sink: socket.socket) -> bool:
        self.held = self.held[sink.send(self.held) :]
        return not self.held


class SpliceMover:
    """os.splice into a pipe and out of it: the kernel moves the pages."""

    def __init__(self, chunk_bytes: int) -> None:
        self.read_end, self.write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(self.write_end, F_SETPIPE_SZ, chunk_bytes)
        self.chunk_bytes = chunk_bytes
        self.held = 0

    def read(self, source: socket.socket) -> int:
        self.held = os.splice(source.fileno(), self.write_end, self.chunk_bytes, flags=2)
        return self.held

    def write(self, sink: socket.socket) -> bool:
        self.held -= os.splice(self.read_end, sink.fileno(), self.held, flags=2)
        return not self.held


Mover = CopyMover | SpliceMover


async def relay_readiness(client: socket.socket, upstream: socket.socket, make: Callable[[], Mover]) -> None:
    loop = asyncio.get_running_loop()
    done = [loop.create_future(), loop.create_future()]

    def pump(source: socket.socket, sink: socket.socket, ended: asyncio.Future[None]) -> None:
        mover = make()

        def readable() -> None:
            if not mover.read(source):
                loop.remove_reader(source)
                sink.shutdown(socket.SHUT_WR)
                ended.set_result(None)
                return
            try:
                emptied = mover.write(sink)
            except BlockingIOError:
                emptied = False
            if not emptied:
                if isinstance(mover, CopyMover):
                    mover.held = memoryview(bytes(mover.held))
                loop.remove_reader(source)
                loop.add_writer(sink, writable)

        def writable() -> None:
            try:
                emptied = mover.write(sink)
            except BlockingIOError:
                return
            if emptied:
                loop.remove_writer(sink)
                loop.add_reader(source, readable)

        loop.add_reader(source, readable)

    pump(client, upstream, done[0])
    pump(upstream, client, done[1])
    await asyncio.gather(*done)


def relay_epoll(client: socket.socket, upstream: socket.socket, chunk_bytes: int) -> None:
    """The minimal cost of a readiness loop: no timers, one connection."""
    poll = select.epoll()
    movers = {client.fileno(): (client, upstream), upstream.fileno(): (upstream, client)}
    for descriptor in movers:
        poll.register(descriptor, select.EPOLLIN)
    buffer = memoryview(bytearray(chunk_bytes))
    while movers:
        for descriptor, _ in poll.poll():
            source, sink = movers[descriptor]
            if count := source.recv_into(buffer):
                sink.setblocking(True)
                sink.sendall(buffer[:count])
                sink.setblocking(False)
            else:
                poll.unregister(descriptor)
                del movers[descriptor]
                sink.shutdown(socket.SHUT_WR)


def candidate(name: str) -> Callable[[socket.socket, socket.socket], object]:
    how, _, size = name.partition("/")
    runner: Callable[..., object] = asyncio.run
    if how.endswith("uvloop"):
        import uvloop  # noqa: PLC0415 - only if it is measured

        runner = uvloop.run
    if how.startswith("streams"):
        return lambda client, upstream: runner(relay_streams(client, upstream))
    if how.startswith("epoll"):
        return lambda client, upstream: relay_epoll(client, upstream, int(size) * 1024)
    mover = SpliceMover if how.startswith("splice") else CopyMover
    return lambda client, upstream: runner(relay_readiness(client, upstream, lambda: mover(int(size) * 1024)))


def relay_process(name: str, listener: socket.socket, port: int, cost: SimpleQueue[float]) -> None:
    client = listener.accept()[0]
    upstream = socket.create_connection(("127.0.0.1", port))
    run = candidate(name)
    for sock in (client, upstream):
        sock.setblocking(False)
    upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    before = resource.getrusage(resource.RUSAGE_SELF)
    run(client, upstream)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cost.put(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def send_all(sock: socket.socket, total: int) -> None:
    block = os.urandom(1_048_576)
    for _ in range(total // len(block)):
        sock.sendall(block)
    sock.shutdown(socket.SHUT_WR)


def receive_all(sock: socket.socket) -> int:
    buffer = bytearray(1_048_576)
    total = 0
    while count := sock.recv_into(buffer):
        total += count
    return total


def measure(name: str, total: int, *, upload: bool) -> tuple[float, float]:
    """Return bytes per second and the relay's CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "s"))
        near = socket.socket(socket.AF_UNIX)
        near.bind(path)
        near.listen()
        far = socket.create_server(("127.0.0.1", 0))
        cost: SimpleQueue[float] = get_context().SimpleQueue()
        relay = Process(target=relay_process, args=(name, near, far.getsockname()[1], cost))
        relay.start()
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        server = far.accept()[0]
        source, sink = (client, server) if upload else (server, client)
        sender = Process(target=send_all, args=(source, total))
        started = time.perf_counter()
        sender.start()
        source.close()
        received = receive_all(sink)
        elapsed = time.perf_counter() - started
        sink.close()
        sender.join()
        cpu = cost.get()
        relay.join()
        assert received == total
        return total / elapsed, cpu


NAMES = (
    "streams", "streams-uvloop", "epoll/64", "epoll/256", "readiness/64", "readiness/256", "readiness/1024",
    "readiness-uvloop/256", "splice/64", "splice/256", "splice/1024", "splice-uvloop/1024",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mib", type=int, nargs="?", default=1024)
    total = parser.parse_args().mib * 1_048_576
    print(f"{'candidate/chunk KiB':24}{'up MiB/s':>10}{'CPU s/GiB':>11}{'down MiB/s':>12}{'CPU s/GiB':>11}")
    for name in NAMES:
        row = f"{name:24}"
        for upload, width in ((True, 10), (False, 12)):
            runs = [measure(name, total, upload=upload) for _ in range(ROUNDS)]
            speed = statistics.median(run[0] for run in runs) / 1_048_576
            cpu = statistics.median(run[1] for run in runs) * 1_073_741_824 / total
            row += f"{speed:{width}.0f}{cpu:11.3f}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
