"""The life of the process, run inside this one: signals sent to itself, a stand-in for systemd, and skipped time."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.proxy.peers import Peers, receive, send
from tests.support.proxy.service_manager import ServiceManager, is_open, listening_unix_socket
from tests.support.proxy.skipping_loop import run_skipping, turns_until
from vsock_proxy.config.destination import parse_destination
from vsock_proxy.config.model import Config, Route
from vsock_proxy.config.source import ConfigSource
from vsock_proxy.daemon import metrics
from vsock_proxy.daemon.lifecycle import Lifecycle, serve_until_stopped
from vsock_proxy.errors import ConfigError, NotAllowedError
from vsock_proxy.settings import Limits, ServeSettings
from vsock_wire.errors import ExitCode, TransportError
from vsock_wire.net.address import UnixAddress

ALLOWLIST = "allowlist: [{address: 10.0.0.1, port: 443}]\n"
DESTINATION = parse_destination("10.0.0.1", 443)


class FakeServer:
    """Records what it is told; drains until the test lets it finish or calls ``abort``."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.configs: list[Config] = []
        self.hears = asyncio.Event()
        self.drained = asyncio.Event()
        self.error: TransportError | None = None

    def hear(self, what: str) -> None:
        self.told.append(what)
        self.hears.set()

    def apply(self, config: Config) -> None:
        self.hear("apply")
        if self.error is not None:
            raise self.error
        self.configs.append(config)

    async def drain(self) -> None:
        self.hear("drain")
        await self.drained.wait()

    def abort(self) -> None:
        self.hear("abort")
        self.drained.set()


@pytest.fixture
def manager(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManager]:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    with ServiceManager(short_dir, monkeypatch) as manager:
        yield manager


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(ALLOWLIST)
    return path


def signal_self(*numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


class TestSignals:
    """How a Lifecycle reacts to signals."""

    def run(self, config_file: Path, *numbers: signal.Signals, drains: bool = True) -> tuple[ExitCode, list[str]]:
        """Return the exit code and what the server was told, for these signals in sequence."""

        async def check() -> tuple[ExitCode, list[str]]:
            server = FakeServer()
            if drains:
                server.drained.set()
            running = asyncio.create_task(Lifecycle(ConfigSource(config_file), server).run())
            for number in numbers:
                server.hears.clear()
                signal_self(number)
                await server.hears.wait()
            return await running, server.told

        return run_skipping(check())

    def test_sigterm_drains(self, manager: ServiceManager, config_file: Path) -> None:
        assert self.run(config_file, signal.SIGTERM) == (ExitCode.DONE, ["drain"])
        assert manager.heard() == ["READY=1", "STOPPING=1"]

    def test_second_sigterm_aborts_the_drain(self, manager: ServiceManager, config_file: Path) -> None:
        done = self.run(config_file, signal.SIGTERM, signal.SIGTERM, drains=False)
        assert done == (ExitCode.DONE, ["drain", "abort"])
        assert manager.heard() == ["READY=1", "STOPPING=1"]

    @pytest.mark.usefixtures("manager")
    def test_sigint_aborts_and_has_its_own_exit_code(self, config_file: Path) -> None:
        assert self.run(config_file, signal.SIGINT) == (ExitCode.INTERRUPTED, ["abort", "drain"])

    @pytest.mark.usefixtures("manager")
    def test_sigint_during_a_drain_aborts_it(self, config_file: Path) -> None:
        done = self.run(config_file, signal.SIGTERM, signal.SIGINT, drains=False)
        assert done == (ExitCode.INTERRUPTED, ["drain", "abort"])

    @pytest.mark.usefixtures("manager")
    def test_signal_before_the_run_is_not_lost(self, config_file: Path) -> None:
        async def check() -> ExitCode:
            server = FakeServer()
            server.drained.set()
            lifecycle = Lifecycle(ConfigSource(config_file), server)
            signal_self(signal.SIGTERM)
            return await lifecycle.run()

        assert run_skipping(check()) == ExitCode.DONE

    def test_watchdog_is_fed_in_time_until_the_process_ends(
        self, manager: ServiceManager, config_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)

        async def check() -> None:
            server = FakeServer()
            running = asyncio.create_task(Lifecycle(ConfigSource(config_file), server).run())
            await asyncio.sleep(50)
            assert manager.heard() == ["WATCHDOG=1", "READY=1", *["WATCHDOG=1"] * 3]
            signal_self(signal.SIGTERM)
            await asyncio.sleep(20)  # draining
            assert manager.heard() == ["STOPPING=1", "WATCHDOG=1"]
            server.drained.set()
            await running

        run_skipping(check())


@pytest.mark.usefixtures("manager")
class TestReload:
    def reload(self, file: Path, text: str) -> None:
        file.write_text(text)
        signal_self(signal.SIGHUP)

    def test_sighup_reads_the_file_again_and_applies_it(
        self, config_file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)

        async def check() -> None:
            server = FakeServer()
            server.drained.set()
            running = asyncio.create_task(Lifecycle(ConfigSource(config_file), server).run())
            self.reload(config_file, f"{ALLOWLIST}routes: [{{listen: 8000, address: 10.0.0.1, port: 443}}]\n")
            await turns_until(lambda: server.configs)
            assert [route.destination for route in server.configs[0].routes] == [DESTINATION]
            await asyncio.sleep(1_000)
            assert server.told == ["apply"]
            signal_self(signal.SIGTERM)
            assert await running == ExitCode.DONE

        run_skipping(check())
        assert f"reloaded {config_file}: 1 entries, 1 routes" in caplog.messages

    def test_broken_file_changes_nothing_and_the_next_reload_works(
        self, config_file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def check() -> None:
            server = FakeServer()
            Lifecycle(ConfigSource(config_file), server)
            self.reload(config_file, "allowlist: x\n")
            await turns_until(lambda: "reload failed" in caplog.text)
            assert server.told == []
            self.reload(config_file, ALLOWLIST)
            await turns_until(lambda: server.configs)

        run_skipping(check())
        assert f"reload failed, keeping the old configuration: {config_file} line 1: allowlist: " in caplog.text

    def test_route_that_the_new_file_forbids_changes_nothing(
        self, config_file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def check() -> None:
            server = FakeServer()
            Lifecycle(ConfigSource(config_file, route=Route(UnixAddress("/p"), DESTINATION)), server)
            self.reload(config_file, "allowlist: []\n")
            await turns_until(lambda: "reload failed" in caplog.text)
            assert server.told == []

        run_skipping(check())
        assert "The given address and port are not allowed: 10.0.0.1:443" in caplog.text

    def test_address_that_cannot_be_bound_is_logged_and_does_not_end_the_process(
        self, config_file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def check() -> None:
            server = FakeServer()
            server.error = TransportError("listen on", "unix:/p", "permission denied\x1b[2J")
            running = asyncio.create_task(Lifecycle(ConfigSource(config_file), server).run())
            signal_self(signal.SIGHUP)
            await turns_until(lambda: "reload failed" in caplog.text)
            assert not running.done()
            server.drained.set()
            signal_self(signal.SIGTERM)
            assert await running == ExitCode.DONE

        run_skipping(check())
        assert (
            "reload failed, keeping the old configuration: listen on unix:/p: permission denied\\x1b[2J"
            in caplog.messages
        )


class TestService:
    """The whole service, without a network."""

    def settings(self, config_file: Path, listen: Path, *, metrics_port: int | None = None) -> ServeSettings:
        route = Route(UnixAddress(str(listen)), DESTINATION)
        return ServeSettings(source=ConfigSource(config_file, route=route), limits=Limits(7), metrics_port=metrics_port)

    def test_clients_are_served_from_the_ready_line_to_the_end_of_the_drain(
        self,
        manager: ServiceManager,
        config_file: Path,
        short_dir: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO)

        async def check() -> None:
            with Peers() as peers:
                monkeypatch.setattr("vsock_proxy.server.connect_upstream", peers.connect)
                running = asyncio.create_task(serve_until_stopped(self.settings(config_file, short_dir / "p")))
                await turns_until(lambda: manager.heard() == ["READY=1"])
                client = peers.connect_client(str(short_dir / "p"))
                await send(client, b"ping")
                upstream = await peers.upstreams.get()
                assert await receive(upstream, 4) == b"ping"
                signal_self(signal.SIGTERM)
                await turns_until(lambda: "draining 1 connections" in caplog.text)
                assert not (short_dir / "p").exists()
                for peer in (client, upstream):
                    peer.shutdown(socket.SHUT_WR)
                assert await running == ExitCode.DONE
                assert manager.heard() == ["STOPPING=1"]

        run_skipping(check())
        assert f"{config_file}; at most 7 connections at once" in caplog.messages

    @pytest.mark.usefixtures("manager")
    def test_metrics_are_those_of_the_running_server(
        self, config_file: Path, short_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        served: list[tuple[metrics.ProxyCollector, int]] = []

        def serve(collector: metrics.ProxyCollector, port: int) -> int:
            served.append((collector, port))
            return 12_345

        monkeypatch.setattr(metrics, "serve_metrics", serve)

        async def check() -> None:
            with Peers() as peers:
                monkeypatch.setattr("vsock_proxy.server.connect_upstream", peers.connect)
                settings = self.settings(config_file, short_dir / "p", metrics_port=0)
                running = asyncio.create_task(serve_until_stopped(settings))
                await turns_until(lambda: served)
                ((collector, port),) = served
                assert (port, collector.max_connections, collector.read_stats()) == (0, 7, {})
                await send(peers.connect_client(str(short_dir / "p")), b"ping")
                assert await receive(await peers.upstreams.get(), 4) == b"ping"
                (stats,) = collector.read_stats().values()
                assert (stats.active, stats.to_upstream_bytes) == (1, 4)
                assert collector.read_resolver_failures() == 0
                signal_self(signal.SIGINT)
                assert await running == ExitCode.INTERRUPTED

        run_skipping(check())
        assert "metrics on http://127.0.0.1:12345/metrics" in caplog.messages

    def test_configuration_without_a_route_is_refused(self, config_file: Path) -> None:
        settings = ServeSettings(source=ConfigSource(config_file), limits=Limits(1))
        with pytest.raises(ConfigError, match="no route: name LOCAL_PORT REMOTE_ADDR REMOTE_PORT, or add") as caught:
            run_skipping(serve_until_stopped(settings))
        assert str(config_file) in str(caught.value)
        assert "vsock-proxy 8000 kms.us-east-1.amazonaws.com 443" in (caught.value.hint or "")

    def test_route_that_is_not_allowed_is_refused_before_anything_listens(
        self, config_file: Path, short_dir: Path
    ) -> None:
        config_file.write_text("allowlist: []\n")
        with pytest.raises(NotAllowedError):
            run_skipping(serve_until_stopped(self.settings(config_file, short_dir / "p")))
        assert not (short_dir / "p").exists()

    def test_inherited_socket_of_a_route_is_used_and_its_file_stays(
        self, manager: ServiceManager, config_file: Path, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        number = manager.hand_over(listening_unix_socket(short_dir / "p"))

        async def check() -> None:
            with Peers() as peers:
                monkeypatch.setattr("vsock_proxy.server.connect_upstream", peers.connect)
                early = peers.connect_client(str(short_dir / "p"))
                running = asyncio.create_task(serve_until_stopped(self.settings(config_file, short_dir / "p")))
                await send(early, b"waited")
                assert await receive(await peers.upstreams.get(), 6) == b"waited"
                signal_self(signal.SIGINT)
                assert await running == ExitCode.INTERRUPTED

        run_skipping(check())
        assert (short_dir / "p").exists()
        assert not is_open(number)

    def test_inherited_socket_that_no_route_listens_on_is_refused_and_closed(
        self, manager: ServiceManager, config_file: Path, short_dir: Path
    ) -> None:
        number = manager.hand_over(listening_unix_socket(short_dir / "strange"))
        with pytest.raises(ConfigError, match="socket activation: no route listens on unix:") as caught:
            run_skipping(serve_until_stopped(self.settings(config_file, short_dir / "p")))
        assert str(caught.value).endswith(f"unix:{short_dir}/strange")
        assert not is_open(number)
        assert not (short_dir / "p").exists()
