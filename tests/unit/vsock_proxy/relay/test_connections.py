"""Connections between socket pairs: admitted, refused, counted, closed on time. Tests skip time instead of waiting."""

from __future__ import annotations

import asyncio
import logging
import re
import socket

import pytest

from tests.support.proxy.connections_scene import OTHER, ROUTE, scene
from tests.support.proxy.peers import receive, send
from tests.support.proxy.skipping_loop import run_skipping, turns_until
from vsock_proxy.errors import DialError, NotAllowedError, ResolveError
from vsock_proxy.logs import EVENT
from vsock_proxy.relay.connections import SWEEP_S
from vsock_proxy.relay.outcomes import ConnectionReport, EndReason, Refusal, RefusalReport, RouteStats
from vsock_proxy.settings import Limits


def reports(caplog: pytest.LogCaptureFixture) -> list[object]:
    return [getattr(record, EVENT) for record in caplog.records if hasattr(record, EVENT)]


class TestAdmission:
    def test_client_beyond_the_limit_is_closed_and_counted_and_the_next_after_an_end_is_not(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def check() -> None:
            async with scene(Limits(2)) as here:
                first, upstream = await here.relay()
                await here.relay(OTHER)
                assert await receive(here.admit()) == b""
                assert here.stats().refused == {Refusal.OVER_LIMIT: 1}
                assert here.stats(OTHER).refused == {}
                first.close()
                assert await receive(upstream) == b""
                upstream.close()
                await turns_until(lambda: len(here.connections) == 1)
                await here.relay()
                assert here.stats().refused == {Refusal.OVER_LIMIT: 1}

        run_skipping(check())
        assert "refused a peer: unix:/a -> a.com:443: all 2 connections are in use" in caplog.messages

    def test_client_that_waits_for_its_upstream_counts_toward_the_limit_and_is_not_active(self) -> None:
        async def check() -> None:
            async with scene(Limits(1)) as here:
                here.peers.gate.clear()
                waiting = here.admit()
                assert await receive(here.admit()) == b""
                assert (len(here.connections), here.stats().active) == (1, 0)
                here.peers.gate.set()
                await send(waiting, b"x")
                await turns_until(lambda: here.stats().active)
                assert here.stats().refused == {Refusal.OVER_LIMIT: 1}

        run_skipping(check())

    @pytest.mark.parametrize(
        ("error", "refusal"),
        [
            (NotAllowedError("not allowed: a.com"), Refusal.NOT_ALLOWED),
            (ResolveError("no address: a.com"), Refusal.DNS),
            (DialError("no answer: a.com"), Refusal.CONNECT),
        ],
    )
    def test_client_without_an_upstream_is_refused_and_counted_by_the_reason(
        self, caplog: pytest.LogCaptureFixture, error: Exception, refusal: Refusal
    ) -> None:
        async def check() -> None:
            async with scene(Limits(1)) as here:
                here.peers.error = error
                assert await receive(here.admit()) == b""
                assert here.stats().refused == {refusal: 1}
                assert (here.stats().ended, here.stats().active) == ({}, 0)
                here.peers.error = None
                await here.relay()

        run_skipping(check())
        assert RefusalReport("a peer", str(ROUTE), refusal, str(error)) in reports(caplog)

    def test_internal_error_is_logged_with_its_place_and_without_its_text(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def check() -> None:
            async with scene(Limits(2)) as here:
                client, upstream = await here.relay()
                here.peers.error = KeyError("what a client has sent")
                assert await receive(here.admit()) == b""
                await turns_until(lambda: len(here.connections) == 1)
                await send(client, b"still")
                assert await receive(upstream, 5) == b"still"

        run_skipping(check())
        (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert re.fullmatch(r"internal error: KeyError at \S+peers\.py:\d+", line)
        assert "what a client has sent" not in caplog.text


class TestStats:
    def test_bytes_of_an_open_connection_count_and_stay_after_it_ends(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)

        async def check() -> None:
            async with scene(Limits(3)) as here:
                client, upstream = await here.relay()
                await here.relay()
                await here.relay(OTHER)
                assert here.stats() == RouteStats(active=2, to_upstream_bytes=8, to_client_bytes=10)
                assert here.stats(OTHER) == RouteStats(active=1, to_upstream_bytes=4, to_client_bytes=5)
                client.shutdown(socket.SHUT_WR)
                assert await receive(upstream) == b""
                assert here.stats().active == 2
                upstream.shutdown(socket.SHUT_WR)
                assert await receive(client) == b""
                after = here.stats()
                assert (after.active, after.to_upstream_bytes, after.to_client_bytes) == (1, 8, 10)
                assert after.ended == {EndReason.CLOSED: 1}

        run_skipping(check())
        first = next(report for report in reports(caplog) if isinstance(report, ConnectionReport))
        assert (first.peer, first.route, first.ending.reason) == ("a peer", str(ROUTE), EndReason.CLOSED)
        assert (first.to_upstream_bytes, first.to_client_bytes) == (4, 5)

    def test_client_that_leaves_with_bytes_unread_is_counted_as_failed(self) -> None:
        async def check() -> None:
            async with scene(Limits(1)) as here:
                client, upstream = await here.relay()
                await send(upstream, b"for nobody")
                await turns_until(lambda: here.stats().to_client_bytes == 15)
                client.close()
                assert await receive(upstream) == b""
                assert here.stats().ended == {EndReason.CLIENT_FAILED: 1}

        run_skipping(check())


class TestDrain:
    def test_drain_is_over_as_soon_as_the_last_connection_is(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)

        async def check() -> None:
            async with scene(Limits(2, drain_timeout_s=600)) as here:
                client, upstream = await here.relay()
                started_s = asyncio.get_running_loop().time()
                drain = asyncio.create_task(here.connections.drain())
                await send(client, b"last words")
                assert await receive(upstream, 10) == b"last words"
                assert not drain.done()
                for peer in (client, upstream):
                    peer.shutdown(socket.SHUT_WR)
                await drain
                assert asyncio.get_running_loop().time() == started_s
                assert here.stats().ended == {EndReason.CLOSED: 1}

        run_skipping(check())
        assert "draining 1 connections for at most 600 s" in caplog.messages

    def test_connection_that_outlives_the_deadline_is_stopped(self) -> None:
        async def check() -> None:
            async with scene(Limits(2, drain_timeout_s=10)) as here:
                client, upstream = await here.relay()
                started_s = asyncio.get_running_loop().time()
                await here.connections.drain()
                assert asyncio.get_running_loop().time() - started_s == pytest.approx(10)
                assert here.stats().ended == {EndReason.STOPPED: 1}
                assert (await receive(client), await receive(upstream)) == (b"", b"")

        run_skipping(check())

    def test_client_that_still_waits_for_its_upstream_at_the_deadline_is_refused(self) -> None:
        async def check() -> None:
            async with scene(Limits(2)) as here:
                here.peers.gate.clear()
                client = here.admit()
                await here.connections.drain()
                assert here.stats().refused == {Refusal.STOPPED: 1}
                assert await receive(client) == b""

        run_skipping(check())

    def test_drain_without_connections_does_not_wait(self) -> None:
        async def check() -> None:
            async with scene(Limits(2)) as here:
                started_s = asyncio.get_running_loop().time()
                await here.connections.drain()
                assert asyncio.get_running_loop().time() == started_s

        run_skipping(check())


class TestAbort:
    def test_all_connections_end_at_once_and_are_counted(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)

        async def check() -> None:
            async with scene(Limits(3)) as here:
                client, upstream = await here.relay()
                here.peers.gate.clear()
                here.peers.is_asked.clear()
                connecting = here.admit()
                await here.peers.is_asked.wait()
                same_turn = here.admit()
                here.connections.abort()
                for peer in (client, upstream, connecting, same_turn):
                    assert await receive(peer) == b""
                assert here.stats().ended == {EndReason.STOPPED: 1}
                assert here.stats().refused == {Refusal.STOPPED: 2}

        run_skipping(check())
        assert len(reports(caplog)) == 3

    def test_connection_whose_upstream_is_known_in_the_same_turn_is_refused(self) -> None:
        async def check() -> None:
            async with scene(Limits(1)) as here:
                here.peers.gate.clear()
                client = here.admit()
                await here.peers.is_asked.wait()
                here.peers.gate.set()
                here.connections.abort()
                assert await receive(client) == b""
                assert here.stats().refused == {Refusal.STOPPED: 1}

        run_skipping(check())

    def test_abort_ends_a_drain(self) -> None:
        async def check() -> None:
            async with scene(Limits(1, drain_timeout_s=600)) as here:
                await here.relay()
                started_s = asyncio.get_running_loop().time()
                drain = asyncio.create_task(here.connections.drain())
                await asyncio.sleep(0)
                here.connections.abort()
                await drain
                assert asyncio.get_running_loop().time() == started_s

        run_skipping(check())


class TestIdle:
    def test_sweep_closes_an_idle_connection_and_not_a_busy_one(self) -> None:
        async def check() -> None:
            async with scene(Limits(2, idle_timeout_s=3_600)) as here:
                loop = asyncio.get_running_loop()
                silent, _ = await here.relay()
                silent_since_s = loop.time()
                client, upstream = await here.relay()
                ended = asyncio.create_task(receive(silent))
                while not ended.done():
                    await asyncio.wait([ended], timeout=1_000)
                    await send(client, b"x")
                    assert await receive(upstream) == b"x"
                assert await ended == b""
                assert 3_600 < loop.time() - silent_since_s <= 3_600 + SWEEP_S
                assert here.stats().ended == {EndReason.IDLE: 1}
                await asyncio.sleep(3_590)
                assert here.stats().active == 1

        run_skipping(check())

    def test_short_limit_is_enforced_within_a_quarter_of_it(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)

        async def check() -> None:
            async with scene(Limits(1, idle_timeout_s=0.6)) as here:
                loop = asyncio.get_running_loop()
                client, _ = await here.relay()
                silent_since_s = loop.time()
                assert await receive(client) == b""
                assert 0.6 < loop.time() - silent_since_s <= 0.75 + 1e-6

        run_skipping(check())
        assert "idle: no byte moved for 0.6 s" in caplog.text

    def test_no_limit_keeps_a_silent_connection(self) -> None:
        async def check() -> None:
            async with scene(Limits(1, idle_timeout_s=0)) as here:
                client, upstream = await here.relay()
                await asyncio.sleep(100_000)
                await send(client, b"x")
                assert await receive(upstream) == b"x"

        run_skipping(check())
