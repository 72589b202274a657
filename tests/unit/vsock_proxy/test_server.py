"""The proxy between unix sockets and fake upstreams: routes, rules, reload and drain. Tests skip time."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from pathlib import Path

import pytest

from tests.support.proxy.peers import receive, send
from tests.support.proxy.server_scene import scene
from tests.support.proxy.skipping_loop import run_skipping, turns_until
from vsock_proxy.listener import Listener
from vsock_proxy.relay.outcomes import Refusal
from vsock_proxy.server import LISTENERS_PER_TURN
from vsock_proxy.settings import Limits
from vsock_wire.errors import TransportError


class TestConnecting:
    def test_client_of_a_route_is_relayed_to_its_destination(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)

        async def check() -> None:
            limits = Limits(10, connect_timeout_s=7, idle_timeout_s=0, drain_timeout_s=0)
            async with scene(short_dir, monkeypatch, limits=limits) as here:
                await here.server.apply(here.config("'*.com'", one="a.com", two="b.com"))
                client, upstream = await here.relay("one")
                await here.relay("two")
                await send(upstream, b"pong")
                assert await receive(client, 4) == b"pong"
                assert here.network.dialled == [("10.0.0.1", 443), ("192.0.2.1", 443)]

        run_skipping(check())
        assert f"Proxy is now in listening state: unix:{short_dir}/one -> a.com:443" in caplog.messages

    def test_only_addresses_that_the_allowlist_permits_are_dialled(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                await here.server.apply(here.config("10.0.0.0/8", one="a.com", two="b.com"))
                await here.relay("one")
                assert here.network.dialled == [("10.0.0.1", 443)]
                assert await receive(here.connect("two")) == b""
                assert here.refused("two", "b.com") == {Refusal.NOT_ALLOWED: 1}
                assert len(here.network.dialled) == 1

        run_skipping(check())

    def test_literal_address_is_dialled_without_dns(self, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                await here.server.apply(here.config("10.0.0.0/8", one="10.0.0.1"))
                await here.relay("one")
                assert here.network.asked == []
                assert here.network.dialled == [("10.0.0.1", 443)]

        run_skipping(check())

    def test_name_that_does_not_resolve_in_time_is_refused_after_the_connect_timeout(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def check() -> None:
            limits = Limits(10, connect_timeout_s=7, idle_timeout_s=0)
            async with scene(short_dir, monkeypatch, limits=limits) as here:
                here.network.dns_gate.clear()
                await here.server.apply(here.config("a.com", one="a.com"))
                started_s = asyncio.get_running_loop().time()
                assert await receive(here.connect("one")) == b""
                assert asyncio.get_running_loop().time() - started_s == pytest.approx(7)
                assert here.refused("one", "a.com") == {Refusal.DNS: 1}
                assert here.network.dialled == []

        run_skipping(check())
        assert "DNS lookup failed: a.com: no answer in time" in caplog.text

    def test_name_that_does_not_exist_is_refused(self, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                here.network.names.clear()
                await here.server.apply(here.config("a.com", one="a.com"))
                assert await receive(here.connect("one")) == b""
                assert here.refused("one", "a.com") == {Refusal.DNS: 1}

        run_skipping(check())

    def test_destination_that_does_not_answer_is_refused_and_its_name_looked_up_again(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                await here.server.apply(here.config("a.com", one="a.com"))
                here.network.error = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
                await asyncio.sleep(5)
                assert await receive(here.connect("one")) == b""
                assert here.refused("one", "a.com") == {Refusal.CONNECT: 1}
                await turns_until(lambda: here.network.asked == ["a.com", "a.com"])

        run_skipping(check())

    def test_client_without_a_free_descriptor_is_counted_as_refused(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def accept_nothing(_listener: Listener) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                await here.server.apply(here.config("a.com", one="a.com"))
                with monkeypatch.context() as patch:
                    patch.setattr(Listener, "accept", accept_nothing)
                    assert await receive(here.connect("one")) == b""
                assert here.refused("one", "a.com") == {Refusal.NO_DESCRIPTOR: 1}

        run_skipping(check())
        assert "out of file descriptors or memory" in caplog.text


class TestReload:
    def test_open_connection_outlives_its_route(self, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                await here.server.apply(here.config("'*.com'", stays="a.com", goes="a.com"))
                client, upstream = await here.relay("goes")
                await here.server.apply(here.config("b.com", stays="b.com", comes="b.com"))
                await send(client, b"still")
                assert await receive(upstream, 5) == b"still"
                with pytest.raises(FileNotFoundError):
                    here.connect("goes")
                await here.relay("stays")
                await here.relay("comes")
                assert here.network.dialled == [("10.0.0.1", 443), ("192.0.2.1", 443), ("192.0.2.1", 443)]

        run_skipping(check())

    def test_listener_of_a_route_that_stays_is_not_opened_again(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                await here.server.apply(here.config("'*.com'", stays="a.com"))
                file = (short_dir / "stays").stat().st_ino
                waiting = here.connect("stays")
                await here.server.apply(here.config("'*.com'", stays="b.com"))
                assert (short_dir / "stays").stat().st_ino == file
                await send(waiting, b"x")
                assert await receive(await here.network.upstreams.get()) == b"x"
                assert here.network.dialled == [("192.0.2.1", 443)]

        run_skipping(check())

    def test_new_route_that_cannot_be_bound_leaves_everything_as_it_was(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                await here.server.apply(here.config("a.com", stays="a.com", goes="a.com"))
                await here.relay("stays")
                names = list(here.network.asked)
                (short_dir / "taken").write_text("no socket")
                with pytest.raises(TransportError, match="taken"):
                    await here.server.apply(here.config("b.com", first="b.com", taken="b.com", stays="b.com"))
                assert here.files() == ["goes", "stays", "taken"]
                await here.relay("stays")
                await here.relay("goes")
                assert here.network.dialled == [("10.0.0.1", 443)] * 3
                assert here.network.asked == names

        run_skipping(check())

    def test_current_allowlist_decides_on_each_connection(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                await here.server.apply(here.config("10.0.0.0/8", one="a.com"))
                await here.relay("one")
                await here.server.apply(here.config("11.0.0.0/8", one="a.com"))
                assert await receive(here.connect("one")) == b""
                assert here.refused("one", "a.com") == {Refusal.NOT_ALLOWED: 1}
                assert len(here.network.dialled) == 1

        run_skipping(check())

    def test_new_rules_apply_to_a_client_that_waits_for_dns_during_a_reload(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                here.network.dns_gate.clear()
                await here.server.apply(here.config("10.0.0.0/8", one="a.com"))
                client = here.connect("one")
                await turns_until(lambda: len(here.server.connections) == 1)
                await asyncio.sleep(0)
                await here.server.apply(here.config("11.0.0.0/8", one="a.com"))
                here.network.dns_gate.set()
                assert await receive(client) == b""
                assert here.refused("one", "a.com") == {Refusal.NOT_ALLOWED: 1}
                assert here.network.dialled == []

        run_skipping(check())

    def test_names_of_removed_routes_are_no_longer_looked_up(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                await here.server.apply(here.config("'*.com'", one="a.com"))
                await asyncio.sleep(0)
                await here.server.apply(here.config("'*.com'", one="b.com"))
                await asyncio.sleep(1_000)
                assert here.network.asked.count("a.com") == 1
                assert here.network.asked.count("b.com") > 10

        run_skipping(check())

    def test_route_moves_from_one_address_to_all_addresses_of_its_port(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The new address cannot be bound while the old one is."""

        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                with socket.create_server(("127.0.0.1", 0)) as finder:
                    port = finder.getsockname()[1]
                for host in ("127.0.0.1", "0.0.0.0", "127.0.0.1"):  # noqa: S104 - a test
                    await here.server.apply(here.config_on(f"tcp://{host}:{port}"))
                    with socket.create_connection(("127.0.0.1", port)) as client:
                        client.sendall(b"x")
                        assert await receive(await here.network.upstreams.get()) == b"x"

        run_skipping(check())

    def test_old_address_listens_again_if_the_new_one_cannot(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                with socket.create_server(("127.0.0.1", 0)) as finder:
                    port = finder.getsockname()[1]
                await here.server.apply(here.config_on(f"tcp://127.0.0.1:{port}"))
                (short_dir / "taken").write_text("no socket")
                with pytest.raises(TransportError, match="taken"):
                    await here.server.apply(here.config_on(f"tcp://0.0.0.0:{port}", f"unix:{short_dir}/taken"))
                with socket.create_connection(("127.0.0.1", port)) as client:
                    client.sendall(b"x")
                    assert await receive(await here.network.upstreams.get()) == b"x"

        run_skipping(check())

    def test_two_routes_on_port_0_have_a_port_each_and_keep_it(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)

        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                config = here.config_on("tcp://127.0.0.1:0", "tcp://127.0.0.1:0")
                await here.server.apply(config)
                await here.server.apply(config)
                lines = [line for line in caplog.messages if "listening state" in line]
                ports = {int(line.partition("127.0.0.1:")[2].partition(" ")[0]) for line in lines}
                assert len(lines) == len(ports) == 2
                for port in ports:
                    with socket.create_connection(("127.0.0.1", port)) as client:
                        client.sendall(b"x")
                        assert await receive(await here.network.upstreams.get()) == b"x"

        run_skipping(check())

    def test_relay_has_its_turns_while_many_listeners_are_opened(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                await here.server.apply(here.config("a.com", one="a.com"))
                client, upstream = await here.relay("one")
                names = {f"n{number}": "a.com" for number in range(10 * LISTENERS_PER_TURN)}
                applying = asyncio.create_task(here.server.apply(here.config("a.com", one="a.com", **names)))
                served = 0
                while not applying.done():
                    await send(client, b"x")
                    assert await receive(upstream) == b"x"
                    served += 1
                assert served >= 5
                await applying
                await here.relay("n7")

        run_skipping(check())
