"""The proxy as a service: signals, reload, readiness and watchdog, metrics, and the way down."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

from vsock_proxy.config.file import BUILT_IN_CONFIG_PATH, DEFAULT_CONFIG_PATH, Config, Route, load_config
from vsock_proxy.dial.resolver import Family, Resolver
from vsock_proxy.errors import AwsText, ConfigError, NotAllowedError
from vsock_proxy.relay.connections import Limits
from vsock_proxy.server import ProxyServer
from vsock_proxy.systemd import inherited_sockets, notify, watchdog_interval_s
from vsock_wire.errors import ExitCode, ToolError, printable
from vsock_wire.net.address import CID_ANY

DESCRIPTORS_PER_CONNECTION = 3
"""The client, the upstream, and a second address in the race to the upstream."""
RESERVED_DESCRIPTORS = 128
"""Kept back for listeners, the pipes of bulk transfers (2 x movers.MAX_PIPES), logs, DNS and metrics."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConfigSource:
    """Where the configuration comes from, at the start and at each reload.

    Attributes:
        path: the config file, or None for AWS's default or, where that does not exist, all KMS endpoints.
        cid: what to listen on where only a port is given.
        route: the route of the command line, beside those of the file.
    """

    path: Path | None
    cid: int = CID_ANY
    route: Route | None = None

    @property
    def file(self) -> Path:
        """The file in use at this moment."""
        if self.path is not None:
            return self.path
        return DEFAULT_CONFIG_PATH if DEFAULT_CONFIG_PATH.exists() else BUILT_IN_CONFIG_PATH

    def load(self) -> Config:
        """Read and check the configuration.

        Raises:
            ConfigError: see ``load_config``; or two routes listen on the same address.
            NotAllowedError: the allowlist does not permit a route.
        """
        config = load_config(self.file, cid=self.cid)
        if self.route is None:
            return config
        if not config.allowlist.could_permit(self.route.destination):
            raise NotAllowedError(
                f"{AwsText.CHECK_FAILED}: {AwsText.NOT_ALLOWED}: {self.route.destination}",
                hint=f"add its address and port to the allowlist in {self.file}",
            )
        if any(route.listen == self.route.listen for route in config.routes):
            raise ConfigError(f"{self.file}: routes: expected no route on {self.route.listen}: the command line has it")
        return Config(config.allowlist, (*config.routes, self.route))


def choose_max_connections() -> int:
    """Raise the process's limit of file descriptors as far as it may; return how many connections fit into it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid even that: what there is has to do
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (soft - RESERVED_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION)


@dataclass(frozen=True)
class Service:
    """Everything that is decided on the command line.

    Attributes:
        source: where the configuration comes from.
        limits: how much and how long.
        family: which addresses of the upstreams to use.
        metrics_port: TCP port of the metrics on loopback, or None for none.
    """

    source: ConfigSource
    limits: Limits
    family: Family = Family.ANY
    metrics_port: int | None = None

    async def run(self) -> ExitCode:
        """Serve until SIGTERM (drains; exit code 0) or SIGINT (ends at once; exit code 130).

        Raises:
            ToolError: the configuration is wrong, or an address cannot be listened on.
        """
        config = self.source.load()
        if not config.routes:
            raise ConfigError(
                f"expected LOCAL_PORT REMOTE_ADDR REMOTE_PORT, or routes in {self.source.file}, got neither",
                hint="such as: vsock-proxy 8000 kms.us-east-1.amazonaws.com 443",
            )
        inherited = inherited_sockets()
        if strange := inherited.keys() - {route.listen for route in config.routes}:
            raise ConfigError(f"socket activation: expected sockets of routes, got {', '.join(map(str, strange))}")
        resolver = Resolver(self.family, refresh_s=self.limits.dns_refresh_s)
        server = ProxyServer(self.limits, resolver, inherited=inherited)
        supervisor = _Supervisor(self.source, server)  # first: who sees the ready line may send signals
        logger.info("%s; at most %d connections at once", self.source.file, self.limits.max_connections)
        server.apply(config)
        self._serve_metrics(server, resolver)
        return await supervisor.run()

    def _serve_metrics(self, server: ProxyServer, resolver: Resolver) -> None:
        if self.metrics_port is None:
            return
        from vsock_proxy.metrics import ProxyCollector, serve_metrics  # noqa: PLC0415 - 6 MB only who asks should pay

        collector = ProxyCollector(server.connections.stats, lambda: resolver.failures, self.limits.max_connections)
        logger.info("metrics on http://127.0.0.1:%d/metrics", serve_metrics(collector, self.metrics_port))


class _Supervisor:
    """Turns signals into what they mean, and tells systemd how it goes."""

    def __init__(self, source: ConfigSource, server: ProxyServer) -> None:
        self._source = source
        self._server = server
        self._stop = asyncio.Event()
        self._exit_code = ExitCode.DONE
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)

    async def run(self) -> ExitCode:
        """Wait for the signal to stop; return the exit code when all is over."""
        self._feed_watchdog()
        notify("READY=1")
        await self._stop.wait()
        notify("STOPPING=1")
        await self._server.drain()
        return self._exit_code

    def _reload(self) -> None:
        try:
            config = self._source.load()
            self._server.apply(config)
        except ToolError as error:
            logger.error("reload failed, the old rules stay: %s", printable(str(error)))  # noqa: TRY400 - all is said
            return
        logger.info(
            "reloaded %s: %d entries, %d routes", self._source.file, len(config.allowlist.entries), len(config.routes)
        )

    def _terminate(self) -> None:
        if self._stop.is_set():  # the second time means now
            self._server.connections.abort()
        self._stop.set()

    def _interrupt(self) -> None:
        self._exit_code = ExitCode.INTERRUPTED
        self._server.connections.abort()
        self._stop.set()

    def _feed_watchdog(self) -> None:
        """Tell systemd that the loop goes round; when it hangs, that stays away and systemd starts a new process."""
        if (interval_s := watchdog_interval_s()) is not None:
            notify("WATCHDOG=1")
            asyncio.get_running_loop().call_later(interval_s, self._feed_watchdog)
