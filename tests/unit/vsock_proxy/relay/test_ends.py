"""Relays over sockets of this process: every way that a connection can end, both ways to move bytes, and the cap."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.support.proxy.peers import receive, send
from tests.support.proxy.plain_loop import run_on, until
from vsock_proxy.relay import ends as ends_module
from vsock_proxy.relay import pipes
from vsock_proxy.relay.budget import CHUNK_BYTES, OWN_BYTES, Budget
from vsock_proxy.relay.duplex import Relay
from vsock_proxy.relay.loop import EDGE, RelayLoop
from vsock_proxy.relay.outcomes import Ending, EndReason, RouteStats
from vsock_proxy.relay.pipes import Pipe


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        return near, listener.accept()[0]


class NoEvents:
    """Watches a socket until the relay does."""

    def on_event(self, _mask: int) -> None:
        """Ignore it."""

    def on_bug(self) -> None:
        """Nothing can go wrong."""


@dataclass
class Scene:
    """A relay, the peers at both ends, and how it ends."""

    client: socket.socket
    server: socket.socket
    relay: Relay
    ending: asyncio.Future[Ending]
    stats: RouteStats


@asynccontextmanager
async def running_relay(loop: RelayLoop, budget: Budget | None = None) -> AsyncIterator[Scene]:
    client, near = socket.socketpair()
    far, server = tcp_pair()
    for sock in (client, near, far, server):
        sock.setblocking(False)
    numbers = (near.detach(), far.detach())
    for number in numbers:
        loop.watch(number, NoEvents(), EDGE)
    over: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    def end(_relay: Relay, ending: Ending) -> None:
        over.set_result(ending)
        loop.return_soon()

    budget = budget or Budget()
    free_bytes = budget.free_bytes
    stats = RouteStats()
    relay = Relay(loop, budget, *numbers, tcp=(False, True), stats=stats, on_over=end)
    relay.start((0, 0))
    with client, server:
        try:
            async with asyncio.timeout(20):
                yield Scene(client, server, relay, over, stats)
                await over
        finally:
            relay.finish(Ending(EndReason.STOPPED))
            await asyncio.sleep(0)
    assert budget.free_bytes == free_bytes
    assert Pipe.in_use == 0
    for number in numbers:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)


def test_both_ends_of_stream_are_passed_on_and_end_the_relay() -> None:
    async def check(loop: RelayLoop) -> None:
        async with running_relay(loop) as here:
            await send(here.client, b"question")
            here.client.shutdown(socket.SHUT_WR)
            assert await receive(here.server, 100) == b"question"
            assert not here.ending.done()
            await send(here.server, b"answer")
            here.server.shutdown(socket.SHUT_WR)
            assert await receive(here.client, 100) == b"answer"
            assert await here.ending == Ending(EndReason.CLOSED)
            assert (here.stats.to_upstream_bytes, here.stats.to_client_bytes) == (8, 6)

    run_on(check)


def test_bytes_that_go_first_arrive_before_those_of_the_peers() -> None:
    async def check(loop: RelayLoop) -> None:
        near, client = socket.socketpair()
        far, server = socket.socketpair()
        with client, server:
            for sock in (near, client, far, server):
                sock.setblocking(False)
            await send(client, b" and the client's")
            numbers = (near.detach(), far.detach())
            for number in numbers:
                loop.watch(number, NoEvents())
            relay = Relay(
                loop, Budget(), *numbers, tcp=(False, False), stats=RouteStats(), on_over=lambda _relay, _ending: None
            )
            relay.start((select.EPOLLIN, 0), b"200", b"a header")
            assert await receive(client, 3) == b"200"
            assert await receive(server, 25) == b"a header and the client's"
            relay.finish(Ending(EndReason.STOPPED))

    run_on(check)


def test_finish_resets_the_tcp_side_and_says_why() -> None:
    async def check(loop: RelayLoop) -> None:
        async with running_relay(loop) as here:
            ending = Ending(EndReason.IDLE, "too long")
            here.relay.finish(ending, reset=True)
            here.relay.finish(Ending(EndReason.STOPPED))
            assert await here.ending == ending
            with pytest.raises(ConnectionResetError):
                await receive(here.server, 1)
            assert await receive(here.client, 1) == b""

    run_on(check)


def test_client_that_has_gone_ends_the_relay_once_all_that_it_sent_is_passed_on() -> None:
    data = os.urandom(3 * CHUNK_BYTES)

    async def check(loop: RelayLoop) -> None:
        async with running_relay(loop) as here:
            sender = asyncio.create_task(send(here.client, data))
            received = await receive(here.server, CHUNK_BYTES)
            await sender
            here.client.close()
            assert received + await receive(here.server, len(data)) == data
            assert await here.ending == Ending(EndReason.CLOSED)

    run_on(check)


@pytest.mark.parametrize(("is_read", "detail"), [(False, "connection reset by peer"), (True, "broken pipe")])
def test_upstream_that_refuses_what_it_gets_is_said_to_have_failed(is_read: bool, detail: str) -> None:
    async def check(loop: RelayLoop) -> None:
        async with running_relay(loop) as here:
            await send(here.client, b"question")
            await until(lambda: here.stats.to_upstream_bytes == 8)
            if is_read:
                assert await receive(here.server, 8) == b"question"
            here.server.close()
            if is_read:
                assert await receive(here.client) == b""
                await send(here.client, b"another")
            assert await here.ending == Ending(EndReason.UPSTREAM_FAILED, detail)

    run_on(check)


def test_slow_reader_costs_one_chunk_and_gets_everything() -> None:
    data = os.urandom(64 * CHUNK_BYTES)

    async def check(loop: RelayLoop) -> None:
        budget = Budget()
        async with running_relay(loop, budget) as here:
            here.relay.may_splice = False
            sender = asyncio.create_task(send(here.server, data))
            await until(lambda: here.relay.client.is_blocked)
            await asyncio.sleep(0.1)
            assert 0 < len(here.relay.client.pending) <= CHUNK_BYTES
            assert not sender.done()
            assert await receive(here.client, len(data)) == data
            await sender
            here.client.close()

    run_on(check)


def test_many_slow_readers_hold_no_more_than_the_cap_and_one_that_reads_is_served() -> None:
    cap = 4 * CHUNK_BYTES
    budget = Budget(cap)
    most_held = 0

    async def check(loop: RelayLoop) -> None:
        nonlocal most_held
        pairs = []
        for _ in range(20):
            near, client = socket.socketpair()
            far, server = socket.socketpair()
            for sock in (near, client, far, server):
                sock.setblocking(False)
            numbers = (near.detach(), far.detach())
            for number in numbers:
                loop.watch(number, NoEvents())
            relay = Relay(
                loop, budget, *numbers, tcp=(False, False), stats=RouteStats(), on_over=lambda _relay, _ending: None
            )
            relay.start((0, 0))
            pairs.append((client, server, relay))
        senders = [asyncio.create_task(send(server, bytes(8 * CHUNK_BYTES))) for _, server, _ in pairs[1:]]
        for _ in range(50):
            await asyncio.sleep(0.01)
            held = sum(len(relay.client.pending) for *_, relay in pairs)
            most_held = max(most_held, held)
            assert held <= cap + 20 * OWN_BYTES
        assert sum(relay.client.is_blocked for *_, relay in pairs) == 19
        client, server, _ = pairs[0]
        data = os.urandom(100_000)
        sender = asyncio.create_task(send(server, data))
        assert await receive(client, len(data)) == data
        await sender
        for sender in senders:
            sender.cancel()
        for client, server, relay in pairs:
            relay.finish(Ending(EndReason.STOPPED))
            client.close()
            server.close()

    run_on(check)
    assert most_held > cap // 2
    assert budget.free_bytes == cap


def test_second_small_message_to_a_tcp_peer_is_not_held_back() -> None:
    """Nagle's algorithm delays it until the first is acknowledged. One message alone is not worth the call."""

    async def check(loop: RelayLoop) -> None:
        async with running_relay(loop) as here:
            number = here.relay.upstream.number

            def is_delayed() -> bool:
                with socket.socket(fileno=os.dup(number)) as sock:
                    return not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

            await send(here.client, b"first")
            assert await receive(here.server, 5) == b"first"
            assert is_delayed()
            await send(here.client, b"second")
            assert await receive(here.server, 6) == b"second"
            assert not is_delayed()
            here.client.close()

    run_on(check)


def test_bulk_from_a_tcp_source_is_spliced_and_arrives_whole() -> None:
    data = os.urandom(20 * CHUNK_BYTES)

    async def check(loop: RelayLoop) -> None:
        async with running_relay(loop) as here:
            sender = asyncio.create_task(send(here.server, data))
            received = await receive(here.client, 10 * CHUNK_BYTES)
            assert here.relay.client.pipe is not None
            assert here.relay.upstream.pipe is None
            received += await receive(here.client, 10 * CHUNK_BYTES)
            assert received == data
            await sender
            here.client.close()

    run_on(check)


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

    async def check(loop: RelayLoop) -> None:
        async with running_relay(loop) as here:
            sender = asyncio.create_task(send(here.server, data))
            assert await receive(here.client, len(data)) == data
            assert here.relay.client.pipe is None
            await sender
            here.client.close()

    run_on(check)
    assert calls[refused] == 1


def test_bulk_without_a_pipe_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "MAX_PIPES", 0)
    data = os.urandom(10 * CHUNK_BYTES)

    async def check(loop: RelayLoop) -> None:
        async with running_relay(loop) as here:
            sender = asyncio.create_task(send(here.server, data))
            assert await receive(here.client, len(data)) == data
            assert here.relay.client.pipe is None
            await sender
            here.client.close()

    run_on(check)


def test_rest_that_is_held_survives_another_relays_chunk() -> None:
    """The chunk is shared: the next relay must not overwrite what a slow reader has left of it."""
    data = os.urandom(8 * CHUNK_BYTES)

    async def check(loop: RelayLoop) -> None:
        async with running_relay(loop) as here:
            here.relay.may_splice = False
            sender = asyncio.create_task(send(here.server, data))
            await until(lambda: here.relay.client.is_blocked)
            ends_module._scratch[:] = bytes(CHUNK_BYTES)
            assert await receive(here.client, len(data)) == data
            await sender
            here.client.close()

    run_on(check)
