"""Prometheus metrics of the proxy, served on loopback only.

Imported only if metrics are on: the client library costs memory that a proxy without metrics does not need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from vsock_proxy.relay.outcomes import RouteStats
from vsock_wire.errors import TransportError
from vsock_wire.net.address import TcpAddress

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ProxyCollector(Collector):
    """Reads the totals when Prometheus asks, so that measuring costs the relay nothing.

    Args:
        read_stats: returns the totals by route; called from a thread other than the event loop's.
        read_resolver_failures: returns the number of failed lookups; likewise.
        max_connections: maximum number of concurrent connections.
    """

    read_stats: Callable[[], Mapping[str, RouteStats]]
    read_resolver_failures: Callable[[], int]
    max_connections: int

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        active = GaugeMetricFamily("vsock_proxy_connections_active", "Open connections.", labels=["route"])
        ended = CounterMetricFamily("vsock_proxy_connections", "Connections that ended.", labels=["route", "reason"])
        refused = CounterMetricFamily("vsock_proxy_refused", "Connections refused.", labels=["route", "reason"])
        moved = CounterMetricFamily("vsock_proxy_bytes", "Bytes relayed.", labels=["route", "direction"])
        for route, stats in self.read_stats().items():
            active.add_metric([route], stats.active)
            moved.add_metric([route, "to_upstream"], stats.to_upstream_bytes)
            moved.add_metric([route, "to_client"], stats.to_client_bytes)
            for reason, count in tuple(stats.ended.items()):
                ended.add_metric([route, reason], count)
            for refusal, count in tuple(stats.refused.items()):
                refused.add_metric([route, refusal], count)
        yield from (active, ended, refused, moved)
        yield GaugeMetricFamily(
            "vsock_proxy_connections_max", "Maximum number of concurrent connections.", value=self.max_connections
        )
        yield CounterMetricFamily(
            "vsock_proxy_resolver_failures", "Failed DNS lookups.", value=self.read_resolver_failures()
        )


def serve_metrics(collector: ProxyCollector, port: int) -> int:
    """Serve metrics on loopback, in a thread that runs until the process exits.

    Args:
        collector: what to serve.
        port: TCP port; 0 lets the kernel choose.

    Returns:
        The port.

    Raises:
        TransportError: the proxy cannot listen on the port.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server, _ = start_http_server(port, LOOPBACK, registry)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TransportError("serve metrics on", TcpAddress(LOOPBACK, port), reason) from error
    return int(server.server_port)
