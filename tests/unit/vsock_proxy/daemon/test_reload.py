"""SIGHUP: what is read again, and what happens if that fails."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

import pytest

from tests.support.proxy.lifecycle_scene import ALLOWLIST, DESTINATION, FakeServer, lifecycle_of, signal_self
from tests.support.proxy.skipping_loop import relay_loop, run_skipping, turns_until
from vsock_proxy.config.model import Config, Route
from vsock_proxy.config.source import ConfigSource
from vsock_proxy.daemon.lifecycle import Lifecycle
from vsock_wire.errors import ExitCode, TransportError
from vsock_wire.net.address import UnixAddress


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
            running = asyncio.create_task(lifecycle_of(config_file, server).run())
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
            lifecycle_of(config_file, server)
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
            Lifecycle(ConfigSource(config_file, route=Route(UnixAddress("/p"), DESTINATION)), server, relay_loop())
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
            running = asyncio.create_task(lifecycle_of(config_file, server).run())
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

    def test_error_that_nobody_expected_is_logged_and_the_next_reload_works(
        self, config_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(_source: ConfigSource) -> Config:
            raise ValueError("what is in the file")

        async def check() -> None:
            server = FakeServer()
            lifecycle_of(config_file, server)
            with monkeypatch.context() as patch:
                patch.setattr(ConfigSource, "load", fail)
                signal_self(signal.SIGHUP)
                await turns_until(lambda: "reload failed, keeping the old configuration" in caplog.text)
            assert server.told == []
            signal_self(signal.SIGHUP)
            await turns_until(lambda: server.configs)

        run_skipping(check())
        assert "internal error: ValueError at " in caplog.text
        assert "what is in the file" not in caplog.text

    def test_sighup_while_the_file_is_read_reads_it_once_more(self, config_file: Path) -> None:
        async def check() -> None:
            server = FakeServer()
            gate = asyncio.Event()
            loads = 0

            async def load(source: ConfigSource) -> Config:
                nonlocal loads
                loads += 1
                await gate.wait()
                return source.load()

            Lifecycle(ConfigSource(config_file), server, relay_loop(), load=load)
            signal_self(signal.SIGHUP)
            await turns_until(lambda: loads == 1)
            for _ in range(3):
                signal_self(signal.SIGHUP)
                await asyncio.sleep(1)
            gate.set()
            await turns_until(lambda: len(server.configs) == 2)
            await asyncio.sleep(1_000)
            assert loads == 2

        run_skipping(check())

    def test_sigterm_does_not_wait_for_a_file_that_cannot_be_read_to_its_end(self, config_file: Path) -> None:
        async def check() -> None:
            server = FakeServer()
            server.drained.set()
            is_given_up = asyncio.Event()

            async def load(source: ConfigSource) -> Config:
                try:
                    await asyncio.Event().wait()
                finally:
                    is_given_up.set()
                return source.load()

            running = asyncio.create_task(Lifecycle(ConfigSource(config_file), server, relay_loop(), load=load).run())
            signal_self(signal.SIGHUP)
            await asyncio.sleep(1)
            signal_self(signal.SIGTERM)
            assert await running == ExitCode.DONE
            assert is_given_up.is_set()
            assert server.told == ["drain"]

        run_skipping(check())
