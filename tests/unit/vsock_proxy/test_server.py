"""The proxy between unix sockets and fake upstreams: routes, rules, reload and drain. Tests skip time."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.support.proxy.peers import Peers, receive, send
from tests.support.proxy.skipping_loop import run_skipping, turns_until
from vsock_proxy.config.config_file import parse_config
from vsock_proxy.config.destination import Destination, IpAddress
from vsock_proxy.config.model import Config
from vsock_proxy.dial.resolver import Resolver
from vsock_proxy.errors import DialError, ResolveError
from vsock_proxy.listener import Listener
from vsock_proxy.relay.outcomes import EndReason, Refusal
from vsock_proxy.server import ProxyServer
from vsock_proxy.settings import AddressFamily, Limits
from vsock_wire.errors import TransportError
from vsock_wire.net.address import Address, UnixAddress

INSIDE, OUTSIDE = ip_address("10.0.0.1"), ip_address("192.0.2.1")


class Network(Peers):
    """A fake of DNS and TCP: answers as the test says, and records what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.dialled: list[tuple[str, tuple[IpAddress, ...], float]] = []
        self.names: dict[str, tuple[IpAddress, ...]] = {"a.com": (INSIDE, OUTSIDE), "b.com": (OUTSIDE,)}
        self.asked: list[str] = []
        self.dns_gate = asyncio.Event()
        self.dns_gate.set()

    async def look_up(self, name: str, _family: AddressFamily) -> tuple[IpAddress, ...]:
        self.asked.append(name)
        await self.dns_gate.wait()
        if name not in self.names:
            raise ResolveError(f"DNS lookup failed: {name}")
        return self.names[name]

    async def dial(self, to: Destination, addresses: tuple[IpAddress, ...], *, timeout_s: float) -> socket.socket:
        self.dialled.append((str(to), addresses, timeout_s))
        return await self.connect()


class Scene:
    """A server, the network around it, and a folder for the sockets that it listens on."""

    def __init__(self, folder: Path, server: ProxyServer, network: Network, resolver: Resolver) -> None:
        self.folder = folder
        self.server = server
        self.network = network
        self.resolver = resolver

    def config(self, allowlist: str, **routes: str) -> Config:
        """Return a config that allows ``allowlist`` on port 443, and routes by the name of their socket."""
        lines = [f"- {{listen: 'unix:{self.folder}/{name}', address: {to}, port: 443}}" for name, to in routes.items()]
        return parse_config(
            "\n".join([f"allowlist: [{{address: {allowlist}, port: 443}}]", *(["routes:", *lines] if lines else [])]),
            source="test",
        )

    def connect(self, name: str) -> socket.socket:
        return self.network.connect_client(str(self.folder / name))

    async def relay(self, name: str) -> tuple[socket.socket, socket.socket]:
        """Return a client and its upstream once the client's first bytes have arrived."""
        client = self.connect(name)
        await send(client, b"ping")
        upstream = await self.network.upstreams.get()
        assert await receive(upstream, 4) == b"ping"
        return client, upstream

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def refused(self, name: str, to: str) -> dict[Refusal, int]:
        return dict(self.server.connections.stats()[f"unix:{self.folder}/{name} -> {to}:443"].refused)


@asynccontextmanager
async def scene(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    limits: Limits | None = None,
    inherited: dict[Address, socket.socket] | None = None,
) -> AsyncIterator[Scene]:
    limits = limits or Limits(10, drain_timeout_s=0.1, idle_timeout_s=0)
    with Network() as network:
        monkeypatch.setattr("vsock_proxy.server.connect_upstream", network.dial)
        resolver = Resolver(lookup=network.look_up)
        server = ProxyServer(limits, resolver, inherited=inherited)
        try:
            yield Scene(folder, server, network, resolver)
        finally:
            server.abort()
            await server.drain()
        assert asyncio.all_tasks() == {asyncio.current_task()}


class TestConnecting:
    def test_client_of_a_route_is_relayed_to_its_destination(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)

        async def check() -> None:
            limits = Limits(10, connect_timeout_s=7, idle_timeout_s=0, drain_timeout_s=0)
            async with scene(short_dir, monkeypatch, limits=limits) as here:
                here.server.apply(here.config("'*.com'", one="a.com", two="b.com"))
                client, upstream = await here.relay("one")
                await here.relay("two")
                await send(upstream, b"pong")
                assert await receive(client, 4) == b"pong"
                assert here.network.dialled == [("a.com:443", (INSIDE, OUTSIDE), 7), ("b.com:443", (OUTSIDE,), 7)]

        run_skipping(check())
        assert f"Proxy is now in listening state: unix:{short_dir}/one -> a.com:443" in caplog.messages

    def test_only_addresses_that_the_allowlist_permits_are_dialled(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                here.server.apply(here.config("10.0.0.0/8", one="a.com", two="b.com"))
                await here.relay("one")
                assert [addresses for _, addresses, _ in here.network.dialled] == [(INSIDE,)]
                assert await receive(here.connect("two")) == b""
                assert here.refused("two", "b.com") == {Refusal.NOT_ALLOWED: 1}
                assert len(here.network.dialled) == 1

        run_skipping(check())

    def test_literal_address_is_dialled_without_dns(self, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                here.server.apply(here.config("10.0.0.0/8", one="10.0.0.1"))
                await here.relay("one")
                assert here.network.asked == []
                assert here.network.dialled[0][:2] == ("10.0.0.1:443", (INSIDE,))

        run_skipping(check())

    def test_name_that_does_not_resolve_in_time_is_refused_after_the_connect_timeout(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def check() -> None:
            limits = Limits(10, connect_timeout_s=7, idle_timeout_s=0)
            async with scene(short_dir, monkeypatch, limits=limits) as here:
                here.network.dns_gate.clear()
                here.server.apply(here.config("a.com", one="a.com"))
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
                here.server.apply(here.config("a.com", one="a.com"))
                assert await receive(here.connect("one")) == b""
                assert here.refused("one", "a.com") == {Refusal.DNS: 1}

        run_skipping(check())

    def test_destination_that_does_not_answer_is_refused_and_its_name_looked_up_again(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                here.server.apply(here.config("a.com", one="a.com"))
                here.network.error = DialError("connect to a.com:443: no answer")
                await asyncio.sleep(5)
                assert await receive(here.connect("one")) == b""
                assert here.refused("one", "a.com") == {Refusal.CONNECT: 1}
                await turns_until(lambda: here.network.asked == ["a.com", "a.com"])

        run_skipping(check())

    def test_client_without_a_free_descriptor_is_counted_as_refused(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def accept_nothing(listener: Listener) -> Iterator[tuple[None, str]]:
            listener.sock.accept()[0].close()
            yield None, "a client"

        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                here.server.apply(here.config("a.com", one="a.com"))
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
                here.server.apply(here.config("'*.com'", stays="a.com", goes="a.com"))
                client, upstream = await here.relay("goes")
                here.server.apply(here.config("b.com", stays="b.com", comes="b.com"))
                await send(client, b"still")
                assert await receive(upstream, 5) == b"still"
                with pytest.raises(FileNotFoundError):
                    here.connect("goes")
                await here.relay("stays")
                await here.relay("comes")
                assert [destination for destination, *_ in here.network.dialled] == [
                    "a.com:443", "b.com:443", "b.com:443",
                ]  # fmt: skip

        run_skipping(check())

    def test_listener_of_a_route_that_stays_is_not_opened_again(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                here.server.apply(here.config("'*.com'", stays="a.com"))
                file = (short_dir / "stays").stat().st_ino
                waiting = here.connect("stays")
                here.server.apply(here.config("'*.com'", stays="b.com"))
                assert (short_dir / "stays").stat().st_ino == file
                await send(waiting, b"x")
                assert await receive(await here.network.upstreams.get()) == b"x"
                assert here.network.dialled[0][0] == "b.com:443"

        run_skipping(check())

    def test_new_route_that_cannot_be_bound_leaves_everything_as_it_was(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                here.server.apply(here.config("a.com", stays="a.com", goes="a.com"))
                await here.relay("stays")
                names = list(here.network.asked)
                (short_dir / "taken").write_text("no socket")
                with pytest.raises(TransportError, match="taken"):
                    here.server.apply(here.config("b.com", first="b.com", taken="b.com", stays="b.com"))
                assert here.files() == ["goes", "stays", "taken"]
                await here.relay("stays")
                await here.relay("goes")
                assert [destination for destination, *_ in here.network.dialled] == ["a.com:443"] * 3
                assert here.network.asked == names

        run_skipping(check())

    def test_current_allowlist_decides_on_each_connection(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                here.server.apply(here.config("10.0.0.0/8", one="a.com"))
                await here.relay("one")
                here.server.apply(here.config("11.0.0.0/8", one="a.com"))
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
                here.server.apply(here.config("10.0.0.0/8", one="a.com"))
                client = here.connect("one")
                await turns_until(lambda: len(here.server.connections) == 1)
                await asyncio.sleep(0)
                here.server.apply(here.config("11.0.0.0/8", one="a.com"))
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
                here.server.apply(here.config("'*.com'", one="a.com"))
                await asyncio.sleep(0)
                here.server.apply(here.config("'*.com'", one="b.com"))
                await asyncio.sleep(1_000)
                assert here.network.asked.count("a.com") == 1
                assert here.network.asked.count("b.com") > 10

        run_skipping(check())


class TestDrain:
    def test_client_that_waits_to_be_accepted_is_still_served_and_later_ones_are_not(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)

        async def check() -> None:
            limits = Limits(10, drain_timeout_s=600, idle_timeout_s=0)
            async with scene(short_dir, monkeypatch, limits=limits) as here:
                here.server.apply(here.config("a.com", one="a.com"))
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

    def test_names_are_no_longer_looked_up(self, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def check() -> None:
            async with scene(short_dir, monkeypatch) as here:
                here.server.apply(here.config("a.com", one="a.com"))
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
                here.server.apply(here.config("a.com", one="a.com"))
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
            here.server.apply(here.config("a.com", one="a.com"))
            await send(early, b"waited")
            assert await receive(await here.network.upstreams.get(), 6) == b"waited"

    run_skipping(check())
    assert path.exists()
    assert listening.fileno() == -1
