"""The life of the process: startup, reload on SIGHUP, and exit on SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from vsock_proxy.config.loading import load_elsewhere
from vsock_proxy.config.model import Config
from vsock_proxy.config.source import ConfigSource
from vsock_proxy.daemon.systemd import ServiceManager, Watchdog, inherited_sockets
from vsock_proxy.dial.resolver import Resolver
from vsock_proxy.errors import ConfigError
from vsock_proxy.logs import Event, EventLog, LogWriter, log_event, write_without_waiting
from vsock_proxy.relay.loop import RelayLoop, report_bug
from vsock_proxy.server import ProxyServer
from vsock_proxy.settings import ServeSettings
from vsock_wire.errors import ExitCode, ToolError, printable
from vsock_wire.net.address import Address

PACKAGE = "vsock_proxy"

logger = logging.getLogger(__name__)


def serve(settings: ServeSettings) -> ExitCode:
    """Serve until SIGTERM (drain, exit code 0) or SIGINT (stop at once, exit code 130); owns the process's event loop.

    Raises:
        ToolError: the configuration is not valid, or the proxy cannot listen on an address.
    """
    relay_loop = RelayLoop()
    log: EventLog | None = None
    writer: LogWriter | None = None
    if sys.stderr is not None:
        writer, log = write_without_waiting(PACKAGE, sys.stderr.fileno(), as_json=settings.logs_json)
        relay_loop.write_together(writer)
    gc.freeze()  # what is there now stays, and need not be looked at again and again
    try:
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(relay_loop)) as runner:
            return runner.run(serve_until_stopped(settings, relay_loop, log or log_event))
    finally:
        if writer is not None:
            writer.finish()


async def serve_until_stopped(
    settings: ServeSettings, relay_loop: RelayLoop, log: Callable[[int, Event], None]
) -> ExitCode:
    """Serve as ``serve`` does, on the running event loop, whose selector is ``relay_loop``."""
    asyncio.get_running_loop().set_exception_handler(_report_exception)
    config = settings.source.load()
    if not config.routes:
        raise ConfigError(
            f"no route: name LOCAL_PORT REMOTE_ADDR REMOTE_PORT, or add routes to {settings.source.file_to_write}",
            hint="for KMS in us-east-1: vsock-proxy 8000 kms.us-east-1.amazonaws.com 443",
        )
    inherited = _inherited_by_routes(config)
    resolver = Resolver(settings.family, refresh_s=settings.limits.dns_refresh_s)
    server = ProxyServer(
        relay_loop, settings.limits, resolver, inherited=inherited, file=settings.source.file_to_write, log=log
    )
    lifecycle = Lifecycle(
        settings.source, server, relay_loop
    )  # first: signals may arrive as soon as the ready line is logged
    most, _ = settings.limits.capacity(len(config.routes))
    logger.info("%s; at most %d connections at once", settings.source, most)
    _log_warnings(config)
    await server.verify(config)
    await server.apply(config)
    if settings.metrics_port is not None:
        _serve_metrics(settings.metrics_port, server, resolver, most)
    return await lifecycle.run()


def _log_warnings(config: Config) -> None:
    """Log what in the config file was ignored."""
    for warning in config.warnings:
        logger.warning("%s", printable(warning))


def _report_exception(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what a callback has raised: asyncio's own logger has no handler here."""
    error = context.get("exception")
    if isinstance(error, BaseException):
        report_bug(error)
    else:
        logger.error("internal error: %s", context.get("message"))


def _inherited_by_routes(config: Config) -> dict[Address, socket.socket]:
    inherited = inherited_sockets()
    if strange := inherited.keys() - {route.listen for route in config.routes}:
        for sock in inherited.values():
            sock.close()
        raise ConfigError(f"socket activation: no route listens on {', '.join(map(str, strange))}")
    return inherited


def _serve_metrics(port: int, server: ProxyServer, resolver: Resolver, max_connections: int) -> None:
    from vsock_proxy.daemon.metrics import ProxyCollector, serve_metrics  # noqa: PLC0415 - 6 MB, only if metrics are on

    collector = ProxyCollector(server.connections.stats, lambda: resolver.failures, max_connections)
    logger.info("metrics on http://127.0.0.1:%d/metrics", serve_metrics(collector, port))


class Server(Protocol):
    """What signals act on: ProxyServer, or a stand-in for it in tests."""

    async def verify(self, config: Config) -> None:
        """Raise ToolError if the allowlist does not permit a route, where that needs DNS."""

    async def apply(self, config: Config) -> None:
        """Serve ``config`` from now on, or raise ToolError and change nothing."""

    async def drain(self) -> None:
        """Stop accepting, and let connections finish."""

    async def stop(self) -> None:
        """Stop accepting, and end all connections now."""

    def abort(self) -> None:
        """End all connections now."""


class Lifecycle:
    """Acts on signals, and reports the state to systemd; for use inside one event loop.

    It handles signals as soon as it is created, so that none is lost between the ready line in the log and ``run``.

    Args:
        source: the configuration to read again on SIGHUP.
        server: reloaded, drained or stopped by signals.
        relay_loop: the loop whose turns feed the watchdog.
        load: reads the configuration.
    """

    def __init__(
        self,
        source: ConfigSource,
        server: Server,
        relay_loop: RelayLoop,
        *,
        load: Callable[[ConfigSource], Awaitable[Config]] = load_elsewhere,
    ) -> None:
        self._source = source
        self._server = server
        self._relay_loop = relay_loop
        self._stop = asyncio.Event()
        self._exit_code = ExitCode.DONE
        self._load = load
        self._is_reload_due = False
        self._reloading: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)

    async def run(self) -> ExitCode:
        """Wait for a signal to stop, drain or stop at once, and return the exit code."""
        with contextlib.closing(ServiceManager()) as manager:
            watchdog = Watchdog(manager, self._relay_loop)
            manager.notify("READY=1")
            await self._stop.wait()
            manager.notify("STOPPING=1")
            await self._give_up_reload()
            if self._exit_code is ExitCode.INTERRUPTED:
                await self._server.stop()
            else:
                await self._server.drain()
            watchdog.stop()
        return self._exit_code

    def _reload(self) -> None:
        if self._stop.is_set():
            logger.warning("reload ignored: the proxy is stopping")
            return
        self._is_reload_due = True
        if self._reloading is None:
            self._reloading = asyncio.get_running_loop().create_task(self._reload_while_due())

    async def _give_up_reload(self) -> None:
        """End a reload before the server is told to stop, so that it listens on nothing new after that."""
        if self._reloading is not None:
            self._reloading.cancel()
            await asyncio.wait([self._reloading])

    async def _reload_while_due(self) -> None:
        try:
            while self._is_reload_due:  # again, if SIGHUP came while the file was read
                self._is_reload_due = False
                await self._reload_once()
        finally:
            self._reloading = None

    async def _reload_once(self) -> None:
        try:
            config = await self._load(self._source)
            await self._server.verify(config)
            await self._server.apply(config)
        except ToolError as error:
            logger.error("reload failed, keeping the old configuration: %s", printable(str(error)))  # noqa: TRY400 - the text says it all
        except Exception as error:  # noqa: BLE001 - logged; the old configuration stays
            logger.error("reload failed, keeping the old configuration:")  # noqa: TRY400 - its text may hold anything
            report_bug(error)
        else:
            _log_warnings(config)
            logger.info(
                "reloaded %s: %d entries, %d routes", self._source, len(config.allowlist.entries), len(config.routes)
            )

    def _terminate(self) -> None:
        if self._stop.is_set():  # a second SIGTERM means now
            self._server.abort()
        self._stop.set()

    def _interrupt(self) -> None:
        if self._stop.is_set():
            self._server.abort()
        self._exit_code = ExitCode.INTERRUPTED
        self._stop.set()
