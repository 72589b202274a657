"""The life of the process, run inside this one: signals sent to itself, a stand-in for systemd, and skipped time."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
import signal
import socket
from pathlib import Path

import pytest

from tests.support.proxy.lifecycle_scene import DESTINATION, FakeServer, lifecycle_of, serve, signal_self
from tests.support.proxy.peers import Peers, receive, send
from tests.support.proxy.service_manager import ServiceManager, is_open, listening_unix_socket
from tests.support.proxy.skipping_loop import SkippingLoop, relay_loop, run_skipping, turns_until
from vsock_proxy.config.model import Route
from vsock_proxy.config.source import ConfigSource
from vsock_proxy.daemon import metrics
from vsock_proxy.errors import ConfigError, NotAllowedError
from vsock_proxy.relay.outcomes import RouteStats
from vsock_proxy.settings import Limits, ServeSettings
from vsock_wire.errors import ExitCode
from vsock_wire.net.address import UnixAddress


class TestSignals:
    """How a Lifecycle reacts to signals."""

    def run(self, config_file: Path, *numbers: signal.Signals, drains: bool = True) -> tuple[ExitCode, list[str]]:
        """Return the exit code and what the server was told, for these signals in sequence."""

        async def check() -> tuple[ExitCode, list[str]]:
            server = FakeServer()
            if drains:
                server.drained.set()
            running = asyncio.create_task(lifecycle_of(config_file, server).run())
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
    def test_sigint_stops_at_once_and_has_its_own_exit_code(self, config_file: Path) -> None:
        assert self.run(config_file, signal.SIGINT) == (ExitCode.INTERRUPTED, ["stop"])

    @pytest.mark.usefixtures("manager")
    def test_sigint_during_a_drain_aborts_it(self, config_file: Path) -> None:
        done = self.run(config_file, signal.SIGTERM, signal.SIGINT, drains=False)
        assert done == (ExitCode.INTERRUPTED, ["drain", "abort"])

    @pytest.mark.usefixtures("manager")
    def test_signal_before_the_run_is_not_lost(self, config_file: Path) -> None:
        async def check() -> ExitCode:
            server = FakeServer()
            server.drained.set()
            lifecycle = lifecycle_of(config_file, server)
            signal_self(signal.SIGTERM)
            return await lifecycle.run()

        assert run_skipping(check()) == ExitCode.DONE

    @pytest.mark.usefixtures("manager")
    def test_sighup_while_draining_is_ignored_and_said_so(
        self, config_file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def check() -> None:
            server = FakeServer()
            running = asyncio.create_task(lifecycle_of(config_file, server).run())
            signal_self(signal.SIGTERM)
            await server.hears.wait()
            signal_self(signal.SIGHUP)
            await turns_until(lambda: "reload ignored: the proxy is stopping" in caplog.messages)
            server.drained.set()
            assert await running == ExitCode.DONE
            assert server.told == ["drain"]

        run_skipping(check())

    def test_full_descriptor_table_keeps_sigterm_from_nothing(
        self, manager: ServiceManager, config_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> socket.socket:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        async def check() -> None:
            server = FakeServer()
            server.drained.set()
            running = asyncio.create_task(lifecycle_of(config_file, server).run())
            await turns_until(lambda: manager.heard() == ["READY=1"])
            with monkeypatch.context() as patch:
                patch.setattr(socket, "socket", fail)
                signal_self(signal.SIGTERM)
                assert await running == ExitCode.DONE
            assert server.told == ["drain"]
            assert manager.heard() == ["STOPPING=1"]

        run_skipping(check())

    def test_watchdog_is_fed_in_time_until_the_process_ends(
        self, manager: ServiceManager, config_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)

        async def check() -> None:
            server = FakeServer()
            running = asyncio.create_task(lifecycle_of(config_file, server).run())
            await asyncio.sleep(50)
            assert manager.heard() == ["WATCHDOG=1", "READY=1", *["WATCHDOG=1"] * 3]
            signal_self(signal.SIGTERM)
            await asyncio.sleep(20)  # draining
            assert manager.heard() == ["STOPPING=1", "WATCHDOG=1"]
            server.drained.set()
            await running

        run_skipping(check())

    def test_watchdog_is_not_fed_while_a_watcher_of_the_relay_hangs(
        self, manager: ServiceManager, config_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not even if the time comes meanwhile: what feeds it is the end of the turn."""
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        heard_in_turn: list[list[str]] = []

        class SlowWatcher:
            def on_event(self, _mask: int) -> None:
                loop = asyncio.get_running_loop()
                assert isinstance(loop, SkippingLoop)
                loop.skip(100)
                heard_in_turn.append(manager.heard())

            def on_bug(self) -> None:
                raise AssertionError

        async def check() -> None:
            server = FakeServer()
            server.drained.set()
            lifecycle = lifecycle_of(config_file, server)
            running = asyncio.create_task(lifecycle.run())
            await turns_until(lambda: server.told or manager.heard() == ["WATCHDOG=1", "READY=1"])
            ours, theirs = socket.socketpair()
            with ours, theirs:
                relay_loop().watch(ours.fileno(), SlowWatcher(), select.EPOLLIN | select.EPOLLET)
                theirs.send(b"x")
                await asyncio.sleep(1)
                relay_loop().unwatch(ours.fileno())
            assert heard_in_turn == [[]]
            assert manager.heard() == ["WATCHDOG=1"]
            signal_self(signal.SIGTERM)
            await running

        run_skipping(check())


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
                monkeypatch.setattr("vsock_proxy.relay.dialling.begin_to_connect", peers.begin_to_connect)
                running = asyncio.create_task(serve(self.settings(config_file, short_dir / "p")))
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

        def serve_metrics(collector: metrics.ProxyCollector, port: int) -> int:
            served.append((collector, port))
            return 12_345

        monkeypatch.setattr(metrics, "serve_metrics", serve_metrics)

        async def check() -> None:
            with Peers() as peers:
                monkeypatch.setattr("vsock_proxy.relay.dialling.begin_to_connect", peers.begin_to_connect)
                settings = self.settings(config_file, short_dir / "p", metrics_port=0)
                running = asyncio.create_task(serve(settings))
                await turns_until(lambda: served)
                ((collector, port),) = served
                assert (port, collector.max_connections) == (0, 7)
                assert list(collector.read_stats().values()) == [RouteStats()]
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
            run_skipping(serve(settings))
        assert str(config_file) in str(caught.value)
        assert "vsock-proxy 8000 kms.us-east-1.amazonaws.com 443" in (caught.value.hint or "")

    def test_route_that_is_not_allowed_is_refused_before_anything_listens(
        self, config_file: Path, short_dir: Path
    ) -> None:
        config_file.write_text("allowlist: []\n")
        with pytest.raises(NotAllowedError):
            run_skipping(serve(self.settings(config_file, short_dir / "p")))
        assert not (short_dir / "p").exists()

    def test_inherited_socket_of_a_route_is_used_and_its_file_stays(
        self, manager: ServiceManager, config_file: Path, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        number = manager.hand_over(listening_unix_socket(short_dir / "p"))

        async def check() -> None:
            with Peers() as peers:
                monkeypatch.setattr("vsock_proxy.relay.dialling.begin_to_connect", peers.begin_to_connect)
                early = peers.connect_client(str(short_dir / "p"))
                running = asyncio.create_task(serve(self.settings(config_file, short_dir / "p")))
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
            run_skipping(serve(self.settings(config_file, short_dir / "p")))
        assert str(caught.value).endswith(f"unix:{short_dir}/strange")
        assert not is_open(number)
        assert not (short_dir / "p").exists()


def test_error_in_a_callback_is_logged(
    config_file: Path, short_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio gives it to the loop's exception handler, and its own logger has no handler in this program."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    def fail() -> None:
        raise LookupError("what a client has sent")

    async def check() -> None:
        route = Route(UnixAddress(str(short_dir / "p")), DESTINATION)
        running = asyncio.create_task(
            serve(ServeSettings(source=ConfigSource(config_file, route=route), limits=Limits(1)))
        )
        await turns_until((short_dir / "p").exists)
        asyncio.get_running_loop().call_soon(fail)
        await turns_until(lambda: "internal error: LookupError at " in caplog.text)
        signal_self(signal.SIGINT)
        assert await running == ExitCode.INTERRUPTED

    run_skipping(check())
    assert "what a client has sent" not in caplog.text
