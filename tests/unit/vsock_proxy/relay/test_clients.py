"""Clients that leave, that wait for a slot, and that crowd out others."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.support.proxy.connections_scene import OTHER, scene
from tests.support.proxy.peers import receive, send
from tests.support.proxy.skipping_loop import run_skipping, turns_until
from vsock_proxy.relay.budget import OWN_BYTES
from vsock_proxy.relay.connections import MANY_HELD_BYTES, SWEEP_S
from vsock_proxy.relay.ends import End
from vsock_proxy.relay.outcomes import EndReason, Refusal
from vsock_proxy.settings import Limits


class TestClientsThatHaveGone:
    """An upstream that stays silent must not keep the slot of a client that will never read again."""

    def test_slot_is_free_as_soon_as_the_client_closes(self) -> None:
        async def check() -> None:
            async with scene(Limits(1)) as here:
                client, upstream = await here.relay()
                started_s = asyncio.get_running_loop().time()
                await send(client, b"last words")
                client.close()
                assert await receive(upstream, 11) == b"last words"
                assert len(here.connections) == 0
                assert here.stats().ended == {EndReason.CLOSED: 1}
                await here.relay()
                assert asyncio.get_running_loop().time() == started_s

        run_skipping(check())

    def test_client_that_only_half_closes_keeps_its_slot_until_it_closes(self) -> None:
        async def check() -> None:
            async with scene(Limits(1)) as here:
                client, upstream = await here.relay()
                client.shutdown(socket.SHUT_WR)
                assert await receive(upstream) == b""
                await asyncio.sleep(100)
                assert here.stats().active == 1
                await send(upstream, b"answer")
                assert await receive(client, 6) == b"answer"
                client.close()
                await turns_until(lambda: len(here.connections) == 0)
                assert here.stats().ended == {EndReason.CLOSED: 1}

        run_skipping(check())

    def test_sweep_finds_a_client_whose_leaving_no_event_has_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As over vsock, where a client that half-closes first and closes later causes no event."""

        async def check() -> None:
            async with scene(Limits(1)) as here:
                client, upstream = await here.relay()
                client.shutdown(socket.SHUT_WR)
                assert await receive(upstream) == b""
                started_s = asyncio.get_running_loop().time()
                with monkeypatch.context() as patch:
                    patch.setattr(End, "on_event", lambda _end, _mask: None)
                    client.close()
                    while len(here.connections):  # noqa: ASYNC110 - that it is over has no event
                        await asyncio.sleep(1)
                assert asyncio.get_running_loop().time() - started_s <= 2 * SWEEP_S
                assert here.stats().ended == {EndReason.CLOSED: 1}

        run_skipping(check())

    def test_client_that_leaves_while_its_upstream_is_looked_up_gives_its_slot_back(self) -> None:
        async def check() -> None:
            async with scene(Limits(1)) as here:
                here.peers.gate.clear()
                client = here.admit()
                await here.peers.is_asked.wait()
                started_s = asyncio.get_running_loop().time()
                client.close()
                await turns_until(lambda: len(here.connections) == 0)
                assert here.stats().refused == {Refusal.CLIENT_LEFT: 1}
                here.peers.gate.set()
                await here.relay()
                assert asyncio.get_running_loop().time() == started_s

        run_skipping(check())

    def test_what_a_client_said_before_it_left_is_delivered_if_nobody_else_needs_its_slot(self) -> None:
        async def check() -> None:
            async with scene(Limits(1)) as here:
                here.peers.gate.clear()
                client = here.admit()
                await send(client, b"a message")
                client.close()
                await asyncio.sleep(1)
                here.peers.gate.set()
                upstream = await here.peers.upstreams.get()
                assert await receive(upstream, 100) == b"a message"
                assert here.stats().refused == {}

        run_skipping(check())

    def test_client_that_left_makes_way_for_one_that_has_not(self) -> None:
        async def check() -> None:
            async with scene(Limits(1), waiting=1) as here:
                here.peers.gate.clear()
                for _ in range(3):
                    gone = here.admit()
                    await send(gone, b"a message")
                    gone.close()
                    await asyncio.sleep(0.1)
                client = here.admit()
                await send(client, b"question")
                here.peers.gate.set()
                upstream = await here.peers.upstreams.get()
                assert await receive(upstream, 8) == b"question"
                assert here.stats().refused == {Refusal.CLIENT_LEFT: 3}

        run_skipping(check())

    def test_client_that_half_closes_while_its_upstream_is_looked_up_is_served(self) -> None:
        async def check() -> None:
            async with scene(Limits(1)) as here:
                here.peers.gate.clear()
                client = here.admit()
                await send(client, b"question")
                client.shutdown(socket.SHUT_WR)
                await here.peers.is_asked.wait()
                await asyncio.sleep(1)
                here.peers.gate.set()
                upstream = await here.peers.upstreams.get()
                assert await receive(upstream, 9) == b"question"
                await send(upstream, b"answer")
                assert await receive(client, 6) == b"answer"

        run_skipping(check())


class TestWaiting:
    """Clients beyond the limit wait for a slot, as with AWS's proxy, but not for ever."""

    def test_client_beyond_the_limit_is_served_when_a_slot_is_free(self) -> None:
        async def check() -> None:
            async with scene(Limits(1), waiting=2) as here:
                first, _ = await here.relay()
                second, third = here.admit(), here.admit()
                assert await receive(here.admit()) == b""
                for client in (second, third):
                    await send(client, b"waited")
                for before in (first, second):
                    before.close()
                    upstream = await here.peers.upstreams.get()
                    assert await receive(upstream, 6) == b"waited"
                assert here.stats().refused == {Refusal.OVER_LIMIT: 1}

        run_skipping(check())

    def test_client_is_refused_after_the_connect_timeout(self, caplog: pytest.LogCaptureFixture) -> None:
        async def check() -> None:
            async with scene(Limits(1, connect_timeout_s=7), waiting=2) as here:
                await here.relay()
                started_s = asyncio.get_running_loop().time()
                assert await receive(here.admit()) == b""
                assert asyncio.get_running_loop().time() - started_s == pytest.approx(7)
                assert here.stats().refused == {Refusal.OVER_LIMIT: 1}

        run_skipping(check())
        assert "all connections are in use, and none has ended within 7 s" in caplog.text

    def test_client_that_leaves_while_it_waits_is_forgotten(self) -> None:
        async def check() -> None:
            async with scene(Limits(1), waiting=1) as here:
                first, _ = await here.relay()
                here.admit().close()
                await turns_until(lambda: here.stats().refused == {Refusal.CLIENT_LEFT: 1})
                waiting = here.admit()
                await send(waiting, b"x")
                first.close()
                assert await receive(await here.peers.upstreams.get()) == b"x"

        run_skipping(check())


class TestRoutes:
    def test_route_whose_clients_never_leave_keeps_none_of_the_others_slots(self) -> None:
        async def check() -> None:
            async with scene(Limits(8)) as here:
                for _ in range(6):
                    await here.relay()
                assert await receive(here.admit()) == b""
                await here.relay(OTHER)
                await here.relay(OTHER)
                assert await receive(here.admit(OTHER)) == b""
                assert (here.stats().active, here.stats(OTHER).active) == (6, 2)

        run_skipping(check())


@pytest.mark.parametrize(("held_bytes", "gives_back"), [(MANY_HELD_BYTES - 1, 0), (MANY_HELD_BYTES, 1)])
def test_sweep_gives_memory_back_after_much_was_held(
    monkeypatch: pytest.MonkeyPatch, held_bytes: int, gives_back: int
) -> None:
    """The C library keeps what it once needed; other allocations in between keep it from shrinking by itself."""
    given = 0

    def count() -> None:
        nonlocal given
        given += 1

    monkeypatch.setattr("vsock_proxy.relay.connections._give_heap_back", count)

    async def check() -> None:
        async with scene(Limits(1)) as here:
            budget = here.connections._budget
            budget.hold(held_bytes + OWN_BYTES)
            budget.release(held_bytes + OWN_BYTES)
            await asyncio.sleep(5 * SWEEP_S)
            assert given == gives_back

    run_skipping(check())
