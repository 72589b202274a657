"""The proxy's open connections: admitted up to a limit, connected to their upstream, relayed, counted, closed on time.

How it works. Each admitted client has one task; the limit counts these tasks. The task connects to the upstream with
the server's ``connect``, which decides how and whether that is allowed. Then it runs a Relay and sleeps until that
ends, because the Relay's own callbacks move the bytes. ``_relays`` holds the running relays: ``stats`` adds up their
bytes, and the idle sweep and ``abort`` look there for connections to close. Each client leaves one log line, a
ConnectionReport or a RefusalReport.

Why it is built this way. One task per connection makes connecting, relaying and reporting a readable sequence and costs
nothing per byte. One sweep over all connections replaces a timer per connection that every chunk would have to reset.
``Relay.abort`` ends a relay, rather than cancelling its task, so that its log line and totals say why it ended; only a
task that is still connecting is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeAlias, cast

from vsock_proxy.config.model import Route
from vsock_proxy.errors import DialError, NotAllowedError, ProxyError, ResolveError
from vsock_proxy.logs import EVENT
from vsock_proxy.relay.duplex import Relay
from vsock_proxy.relay.outcomes import ConnectionReport, Ending, EndReason, Refusal, RefusalReport, RouteStats
from vsock_proxy.settings import Limits

SWEEP_S = 10.0
"""Maximum number of seconds by which a connection may outlive its idle timeout."""

_REFUSALS: dict[type[ProxyError], Refusal] = {
    NotAllowedError: Refusal.NOT_ALLOWED,
    ResolveError: Refusal.DNS,
    DialError: Refusal.CONNECT,
}

Connect: TypeAlias = Callable[[Route], Awaitable[socket.socket]]
"""Connects to the destination of a route, or raises NotAllowedError, ResolveError or DialError."""

logger = logging.getLogger(__name__)


class Connections:
    """All open connections; for use inside one event loop.

    Args:
        limits: number of connections, and timeouts.
        connect: connects to the upstream.
    """

    def __init__(self, limits: Limits, connect: Connect) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._connect = connect
        self._tasks: set[asyncio.Task[None]] = set()
        self._relays: dict[asyncio.Task[None], tuple[Relay, RouteStats]] = {}
        self._stats: dict[str, RouteStats] = {}
        self._sweeper = self._loop.create_task(self._close_idle())

    def __len__(self) -> int:
        return len(self._tasks)

    def stats(self) -> dict[str, RouteStats]:
        """Return the totals by route, including the bytes of open connections; may be called from any thread."""
        relays = tuple(self._relays.values())
        totals = {}
        for route, stats in tuple(self._stats.items()):
            live = [relay for relay, owner in relays if owner is stats]
            totals[route] = replace(
                stats,
                active=len(live),
                to_upstream_bytes=stats.to_upstream_bytes + sum(relay.to_upstream.moved_bytes for relay in live),
                to_client_bytes=stats.to_client_bytes + sum(relay.to_client.moved_bytes for relay in live),
            )
        return totals

    def admit(self, client: socket.socket, peer: str, route: Route) -> None:
        """Take over an accepted connection: relay it, or close it if the limit is reached.

        Args:
            client: the socket, non-blocking.
            peer: the log's name for the other end.
            route: the route that it came in on.
        """
        if len(self._tasks) >= self._limits.max_connections:
            client.close()
            self.refuse(peer, route, Refusal.OVER_LIMIT, f"all {self._limits.max_connections} connections are in use")
            return
        task = self._loop.create_task(self._serve(client, peer, route))
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def refuse(self, peer: str, route: Route, refusal: Refusal, detail: str) -> None:
        """Count and log a connection that is not relayed."""
        self._stats_of(route).refused[refusal] += 1
        report = RefusalReport(peer, str(route), refusal, detail)
        logger.warning("%s", report, extra={EVENT: report})

    async def drain(self) -> None:
        """Give the connections until the drain timeout to finish, then end the rest."""
        if self._tasks:
            logger.info("draining %d connections for at most %.3g s", len(self), self._limits.drain_timeout_s)
            await asyncio.wait(self._tasks, timeout=self._limits.drain_timeout_s)
        self.abort()
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, *self._tasks, return_exceptions=True)

    def abort(self) -> None:
        """End all connections now."""
        for task in self._tasks:
            self._loop.call_soon(
                self._end, task
            )  # later, as a task that is cancelled before its first step leaks its client

    def _end(self, task: asyncio.Task[None]) -> None:
        if task in self._relays:
            self._relays[task][0].abort(Ending(EndReason.STOPPED, "the proxy was stopped"))
        else:
            task.cancel()

    async def _serve(self, client: socket.socket, peer: str, route: Route) -> None:
        started_s = time.monotonic()
        with client:
            upstream = await self._connect_for(peer, route)
            if upstream is None:
                return
            relay = Relay(client, upstream)
            ending = await self._run(relay, self._stats_of(route))
        report = ConnectionReport(
            peer,
            str(route),
            relay.to_upstream.moved_bytes,
            relay.to_client.moved_bytes,
            time.monotonic() - started_s,
            ending,
        )
        logger.info("%s", report, extra={EVENT: report})

    async def _connect_for(self, peer: str, route: Route) -> socket.socket | None:
        """Return the upstream's socket, or None after refusing the client."""
        try:
            return await self._connect(route)
        except ProxyError as error:
            self.refuse(peer, route, _REFUSALS[type(error)], str(error))
            return None
        except asyncio.CancelledError:
            self.refuse(peer, route, Refusal.STOPPED, "the proxy was stopped")
            raise

    async def _run(self, relay: Relay, stats: RouteStats) -> Ending:
        task = cast("asyncio.Task[None]", asyncio.current_task())  # never None: a coroutine always runs in a task
        self._relays[task] = (relay, stats)
        try:
            ending = await relay.run()
            stats.ended[ending.reason] += 1
        finally:
            del self._relays[task]
            stats.to_upstream_bytes += relay.to_upstream.moved_bytes
            stats.to_client_bytes += relay.to_client.moved_bytes
        return ending

    async def _close_idle(self) -> None:
        limit_s = self._limits.idle_timeout_s
        while limit_s:
            await asyncio.sleep(min(limit_s / 4, SWEEP_S))
            silent_since_s = self._loop.time() - limit_s
            for relay, _ in tuple(self._relays.values()):
                if relay.last_active_s < silent_since_s:
                    relay.abort(Ending(EndReason.IDLE, f"no byte moved for {limit_s:.3g} s"))

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            place = traceback.extract_tb(error.__traceback__)[-1]
            logger.error("internal error: %s at %s:%s", type(error).__name__, place.filename, place.lineno)

    def _stats_of(self, route: Route) -> RouteStats:
        return self._stats.setdefault(str(route), RouteStats())
