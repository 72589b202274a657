"""A stand-in for the server that signals act on, and signals to this process."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from tests.support.proxy.skipping_loop import relay_loop
from vsock_proxy.config.destination import parse_destination
from vsock_proxy.config.model import Config
from vsock_proxy.config.source import ConfigSource
from vsock_proxy.daemon.lifecycle import Lifecycle, serve_until_stopped
from vsock_proxy.logs import log_event
from vsock_proxy.settings import ServeSettings
from vsock_wire.errors import ExitCode, TransportError

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

    async def verify(self, config: Config) -> None:
        """Permit everything, as a server does where no name has to be looked up for that."""

    async def apply(self, config: Config) -> None:
        self.hear("apply")
        if self.error is not None:
            raise self.error
        self.configs.append(config)

    async def drain(self) -> None:
        self.hear("drain")
        await self.drained.wait()

    async def stop(self) -> None:
        self.hear("stop")

    def abort(self) -> None:
        self.hear("abort")
        self.drained.set()


async def load_here(source: ConfigSource) -> Config:
    return source.load()


def lifecycle_of(config_file: Path, server: FakeServer) -> Lifecycle:
    """Return the lifecycle of a server whose config file is read in this process."""
    return Lifecycle(ConfigSource(config_file), server, relay_loop(), load=load_here)


async def serve(settings: ServeSettings) -> ExitCode:
    return await serve_until_stopped(settings, relay_loop(), log_event)


def signal_self(*numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)
