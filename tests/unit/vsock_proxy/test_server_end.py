"""How a server ends: drained, stopped at once, and what it leaves to the next process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from pathlib import Path

import pytest

from tests.support.proxy.peers import receive, send
from tests.support.proxy.server_scene import scene
from tests.support.proxy.skipping_loop import run_skipping
from vsock_proxy.relay.outcomes import EndReason
from vsock_proxy.settings import Limits
from vsock_wire.net.address import Address, UnixAddress


class TestDrain:
    def test_client_that_waits_to_be_accepted_is_still_served_and_later_ones_are_not(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)

        async def check() -> None:
            limits = Limits(10, drain_timeout_s=600, idle_timeout_s=0)
            async with scene(short_dir, monkeypatch, limits=limits) as here:
                await here.server.apply(here.config("a.com", one="a.com"))
                client = here.connect("one")
                drain = asyncio.create_task(here.server.drain())
                await send(client, b"in time")
                upstream = await here.network.upstreams.get()
                assert await receive(upstream, 7) == b"in time"
                with pytest.raises(FileNotFoundError):
                    here.connect("one")
                assert not drain.done()
                for peer in (client, upstream):
                    peer.shutdown(socket.SHUT_WR)
                await drain
                (stats,) = here.server.connections.stats().values()
                assert stats.ended == {EndReason.CLOSED: 1}

        run_skipping(check())
        assert f"no longer listening: unix:{short_dir}/one" in caplog.messages

    def test_more_clients_than_one_turn_accepts_are_still_served(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            limits = Limits(1_000, drain_timeout_s=600, idle_timeout_s=0)
            async with scene(short_dir, monkeypatch, limits=limits) as here:
                await here.server.apply(here.config("a.com", one="a.com"))
                clients = [here.connect("one") for _ in range(300)]
                drain = asyncio.create_task(here.server.drain())
                for client in clients:
                    await send(client, b"x")
                for _ in clients:
                    upstream = await here.network.upstreams.get()
                    assert await receive(upstream) == b"x"
                    upstream.close()
                await drain
                (stats,) = here.server.connections.stats().values()
                assert stats.refused == {}

        run_skipping(check())

    def test_clients_that_wait_in_a_socket_of_systemd_are_left_to_the_next_process(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            path = str(short_dir / "one")
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(path)
                listening.listen()
                inherited: dict[Address, socket.socket] = {UnixAddress(path): listening.dup()}
                async with scene(short_dir, monkeypatch, inherited=inherited) as here:
                    await here.server.apply(here.config("a.com", one="a.com"))
                    here.connect("one")
                    await here.server.drain()
                    listening.accept()[0].close()

        run_skipping(check())

    def test_stop_ends_everything_at_once_and_admits_nobody(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            limits = Limits(10, drain_timeout_s=600, idle_timeout_s=0)
            async with scene(short_dir, monkeypatch, limits=limits) as here:
                await here.server.apply(here.config("a.com", one="a.com"))
                client, _ = await here.relay("one")
                waiting = here.connect("one")
                started_s = asyncio.get_running_loop().time()
                await here.server.stop()
                assert asyncio.get_running_loop().time() == started_s
                assert await receive(client) == b""
                with contextlib.suppress(ConnectionResetError):
                    assert await receive(waiting) == b""
                assert here.network.dialled == [("10.0.0.1", 443)]

        run_skipping(check())

    def test_names_are_no_longer_looked_up(self, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                await here.server.apply(here.config("a.com", one="a.com"))
                await asyncio.sleep(0)
                await here.server.drain()
                asked = len(here.network.asked)
                assert asked == 1
                await asyncio.sleep(1_000)
                assert len(here.network.asked) == asked

        run_skipping(check())

    def test_abort_ends_connections_and_keeps_accepting(self, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                await here.server.apply(here.config("a.com", one="a.com"))
                client, _ = await here.relay("one")
                here.server.abort()
                assert await receive(client) == b""
                await here.relay("one")

        run_skipping(check())


def test_inherited_socket_is_listened_on_and_its_file_stays(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = short_dir / "one"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    async def check() -> None:
        async with scene(short_dir, monkeypatch, inherited={UnixAddress(str(path)): listening}) as here:
            early = here.connect("one")
            await here.server.apply(here.config("a.com", one="a.com"))
            await send(early, b"waited")
            assert await receive(await here.network.upstreams.get(), 6) == b"waited"

    run_skipping(check())
    assert path.exists()
    assert listening.fileno() == -1
