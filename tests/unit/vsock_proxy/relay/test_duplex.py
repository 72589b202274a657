"""Relays over socket pairs: every way that a connection can end, and both ways to move bytes."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from vsock_proxy.relay import movers
from vsock_proxy.relay.duplex import Direction, Relay
from vsock_proxy.relay.movers import CHUNK_BYTES, CopyMover, SpliceMover
from vsock_proxy.relay.outcomes import Ending, EndReason


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        return near, listener.accept()[0]


@dataclass
class Ends:
    """A relay, and the peers at both ends."""

    client: socket.socket
    server: socket.socket
    relay: Relay
    ending: asyncio.Task[Ending]

    async def send(self, sock: socket.socket, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(sock, data)

    async def read(self, sock: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count and (part := await asyncio.get_running_loop().sock_recv(sock, count - len(data))):
            data += part
        return data


@asynccontextmanager
async def running_relay() -> AsyncIterator[Ends]:
    client, near = socket.socketpair()
    far, server = tcp_pair()
    with client, near, far, server:
        for sock in (client, near, far, server):
            sock.setblocking(False)
        relay = Relay(near, far)
        ending = asyncio.create_task(relay.run())
        try:
            async with asyncio.timeout(20):
                yield Ends(client, server, relay, ending)
                await ending
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
    assert (near.fileno(), far.fileno()) == (-1, -1)
    assert SpliceMover._open_pipes == 0


def test_both_ends_of_stream_are_passed_on_and_end_the_relay() -> None:
    async def check() -> None:
        async with running_relay() as ends:
            await ends.send(ends.client, b"question")
            ends.client.shutdown(socket.SHUT_WR)
            assert await ends.read(ends.server, 100) == b"question"
            assert not ends.ending.done()
            await ends.send(ends.server, b"answer")
            ends.server.shutdown(socket.SHUT_WR)
            assert await ends.read(ends.client, 100) == b"answer"
            assert await ends.ending == Ending(EndReason.CLOSED)
            assert (ends.relay.to_upstream.moved_bytes, ends.relay.to_client.moved_bytes) == (8, 6)

    asyncio.run(check())


def test_abort_resets_the_tcp_side_and_says_why() -> None:
    async def check() -> None:
        async with running_relay() as ends:
            ending = Ending(EndReason.IDLE, "too long")
            ends.relay.abort(ending)
            ends.relay.abort(Ending(EndReason.STOPPED))
            assert await ends.ending == ending
            with pytest.raises(ConnectionResetError):
                await ends.read(ends.server, 1)
            assert await ends.read(ends.client, 1) == b""

    asyncio.run(check())


def test_what_a_direction_holds_back_is_at_most_one_chunk() -> None:
    async def check() -> None:
        async with running_relay() as ends:
            sender = asyncio.create_task(ends.send(ends.server, bytes(64 * CHUNK_BYTES)))
            seen = -1
            while seen != ends.relay.to_client.moved_bytes or not ends.relay.to_client._mover.held_bytes:
                seen = ends.relay.to_client.moved_bytes
                await asyncio.sleep(0.05)
            assert 0 < ends.relay.to_client._mover.held_bytes <= CHUNK_BYTES
            assert not sender.done()
            assert len(await ends.read(ends.client, 64 * CHUNK_BYTES)) == 64 * CHUNK_BYTES
            await sender
            ends.client.close()
            ends.server.close()

    asyncio.run(check())


def test_bulk_from_a_tcp_source_is_spliced_and_arrives_whole() -> None:
    data = os.urandom(20 * CHUNK_BYTES)

    async def check() -> None:
        async with running_relay() as ends:
            sender = asyncio.create_task(ends.send(ends.server, data))
            received = await ends.read(ends.client, 10 * CHUNK_BYTES)
            assert isinstance(mover_of(ends.relay.to_client), SpliceMover)
            assert isinstance(mover_of(ends.relay.to_upstream), CopyMover)
            received += await ends.read(ends.client, 10 * CHUNK_BYTES)
            assert received == data
            await sender
            ends.client.close()
            ends.server.close()

    asyncio.run(check())


@pytest.mark.parametrize("refused", ["take", "give"])
def test_kernel_that_does_not_splice_is_worked_around(monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    """AF_VSOCK on some kernels: EINVAL, on the way into or out of the pipe."""
    data = os.urandom(20 * CHUNK_BYTES)
    splice = os.splice
    calls = {"take": 0, "give": 0}

    def refuse(source: int, sink: int, count: int, flags: int) -> int:
        step = "give" if source in pipe_ends else "take"
        calls[step] += 1
        if step == refused:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return splice(source, sink, count, flags=flags)

    pipe_ends: set[int] = set()
    make_pipe = os.pipe2

    def remember(flags: int) -> tuple[int, int]:
        ends = make_pipe(flags)
        pipe_ends.update(ends)
        return ends

    monkeypatch.setattr(os, "splice", refuse)
    monkeypatch.setattr(os, "pipe2", remember)

    async def check() -> None:
        async with running_relay() as ends:
            sender = asyncio.create_task(ends.send(ends.server, data))
            assert await ends.read(ends.client, len(data)) == data
            assert isinstance(mover_of(ends.relay.to_client), CopyMover)
            await sender
            ends.client.close()
            ends.server.close()

    asyncio.run(check())
    assert calls[refused] == 1


def test_bulk_without_a_pipe_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movers, "MAX_PIPES", 0)
    data = os.urandom(10 * CHUNK_BYTES)

    async def check() -> None:
        async with running_relay() as ends:
            sender = asyncio.create_task(ends.send(ends.server, data))
            assert await ends.read(ends.client, len(data)) == data
            assert isinstance(mover_of(ends.relay.to_client), CopyMover)
            await sender
            ends.client.close()
            ends.server.close()

    asyncio.run(check())


def mover_of(direction: Direction) -> object:
    return direction._mover
