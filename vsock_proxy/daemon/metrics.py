"""Prometheus metrics of the proxy, served on loopback only.

Imported only if metrics are on: the client library costs memory that a proxy without metrics does not need.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from vsock_proxy.relay.outcomes import RouteStats
from vsock_wire.errors import TransportError
from vsock_wire.net.address import TcpAddress

LOOPBACK = "127.0.0.1"
MAX_SCRAPES = 8
"""Requests for metrics at once. Each has a thread and a descriptor, which clients must not take from the relay."""
SCRAPE_TIMEOUT_S = 10.0
"""Seconds for a request and its answer. Source: Prometheus's default scrape_timeout."""
_SWEEP_S = 1.0


class ProxyCollector(Collector):
    """Reads the totals when Prometheus asks, so that measuring costs the relay nothing.

    A counter never goes backwards, even if the totals are read in the middle of a change: then the last value is
    repeated, because Prometheus would take a smaller one for a restart and count everything again.

    Args:
        read_stats: returns the totals by route; called from a thread other than the event loop's.
        read_resolver_failures: returns the number of failed lookups; likewise.
        max_connections: maximum number of concurrent connections.
    """

    def __init__(
        self,
        read_stats: Callable[[], Mapping[str, RouteStats]],
        read_resolver_failures: Callable[[], int],
        max_connections: int,
    ) -> None:
        self.read_stats = read_stats
        self.read_resolver_failures = read_resolver_failures
        self.max_connections = max_connections
        self._lock = threading.Lock()
        self._reported: dict[tuple[str, ...], float] = {}

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        active = GaugeMetricFamily("vsock_proxy_connections_active", "Open connections.", labels=["route"])
        ended = CounterMetricFamily("vsock_proxy_connections", "Connections that ended.", labels=["route", "reason"])
        refused = CounterMetricFamily("vsock_proxy_refused", "Connections refused.", labels=["route", "reason"])
        limits = GaugeMetricFamily(
            "vsock_proxy_route_connections_max", "Maximum number of connections of a route.", labels=["route"]
        )
        moved = CounterMetricFamily("vsock_proxy_bytes", "Bytes relayed.", labels=["route", "direction"])
        failures = CounterMetricFamily("vsock_proxy_resolver_failures", "Failed DNS lookups.")
        with self._lock:
            for route, stats in self.read_stats().items():
                active.add_metric([route], stats.active)
                if stats.limit is not None:
                    limits.add_metric([route], stats.limit)
                self._add(moved, [route, "to_upstream"], stats.to_upstream_bytes)
                self._add(moved, [route, "to_client"], stats.to_client_bytes)
                for reason, count in tuple(stats.ended.items()):
                    self._add(ended, [route, reason], count)
                for refusal, count in tuple(stats.refused.items()):
                    self._add(refused, [route, refusal], count)
            self._add(failures, [], self.read_resolver_failures())
        yield from (active, ended, refused, limits, moved)
        yield GaugeMetricFamily(
            "vsock_proxy_connections_max", "Maximum number of concurrent connections.", value=self.max_connections
        )
        yield failures

    def _add(self, counter: CounterMetricFamily, labels: Sequence[str], value: float) -> None:
        key = (counter.name, *labels)
        self._reported[key] = max(value, self._reported.get(key, 0))
        counter.add_metric(labels, self._reported[key])


def serve_metrics(collector: Collector, port: int) -> int:
    """Serve metrics on loopback, in threads that run until the process exits.

    Args:
        collector: what to serve.
        port: TCP port; 0 lets the kernel choose.

    Returns:
        The port.

    Raises:
        TransportError: the proxy cannot listen on the port.
    """
    server = open_metrics_server(collector, port)
    threading.Thread(target=server.serve_forever, args=(_SWEEP_S,), name="metrics", daemon=True).start()
    return int(server.server_port)


def open_metrics_server(collector: Collector, port: int) -> MetricsServer:
    """Listen for requests for metrics; the caller runs ``serve_forever`` and closes the server."""
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        return make_server(LOOPBACK, port, make_wsgi_app(registry), MetricsServer, _QuietHandler)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TransportError("serve metrics on", TcpAddress(LOOPBACK, port), reason) from error


class MetricsServer(socketserver.ThreadingMixIn, WSGIServer):
    """Answers at most MAX_SCRAPES requests at once, each within SCRAPE_TIMEOUT_S; closes what is beyond.

    A timeout on each read alone would let a client hold a thread by sending a byte now and then. So
    ``service_actions``, which ``serve_forever`` calls between requests, shuts down what has taken too long; the thread
    then ends.
    """

    daemon_threads = True
    timeout_s = SCRAPE_TIMEOUT_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}
        super().__init__(*args, **kwargs)

    def server_bind(self) -> None:
        """Bind, without the base class's reverse lookup of the address, which may ask a name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, self.socket.getsockname()[1]
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a request; wait a little if no descriptor is free, as the request stays readable."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                time.sleep(_SWEEP_S)
            raise

    def verify_request(self, request: Any, client_address: object) -> bool:
        """Return whether another request may be served; the caller closes it otherwise."""
        del client_address
        with self._lock:
            if len(self._open) >= MAX_SCRAPES:
                return False
            self._open[request] = time.monotonic() + self.timeout_s
            return True

    def shutdown_request(self, request: Any) -> None:
        """Close a request that is done with."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End requests that have taken too long."""
        now_s = time.monotonic()
        with self._lock:
            for request, deadline_s in self._open.items():
                if now_s >= deadline_s:
                    with contextlib.suppress(OSError):  # the client has gone
                        request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: object) -> None:
        """Say nothing about a client that has gone, or was too slow."""


class _QuietHandler(WSGIRequestHandler):
    """Logs no requests."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Say nothing."""
