"""What Prometheus reads: the current totals, on loopback only."""

from __future__ import annotations

import http.client
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from wsgiref.simple_server import WSGIServer

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry

from vsock_proxy.daemon import metrics
from vsock_proxy.daemon.metrics import ProxyCollector, serve_metrics
from vsock_proxy.relay.outcomes import EndReason, Refusal, RouteStats
from vsock_wire.errors import TransportError

STATS = {
    "unix:/a -> a.com:443": RouteStats(
        active=2,
        ended=Counter({EndReason.CLOSED: 5, EndReason.IDLE: 1}),
        refused=Counter({Refusal.DNS: 3}),
        to_upstream_bytes=1_000,
        to_client_bytes=2_000,
    ),
    "unix:/b -> b.com:443": RouteStats(),
}


def collector(stats: dict[str, RouteStats] = STATS, failures: int = 0) -> ProxyCollector:
    return ProxyCollector(lambda: stats, lambda: failures, 100)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[int, dict[str, RouteStats]]]:
    """Serve on a port that the kernel chooses; the test may change the totals."""
    running: list[tuple[WSGIServer, threading.Thread]] = []

    def start(port: int, addr: str, registry: CollectorRegistry) -> tuple[WSGIServer, threading.Thread]:
        running.append(prometheus_client.start_http_server(port, addr, registry))
        return running[-1]

    stats = {"a -> b": RouteStats()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "start_http_server", start)
        yield serve_metrics(collector(stats), 0), stats
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


def read(port: int) -> dict[str, float]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_collector_names_every_total_of_every_route() -> None:
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in collector(failures=7).collect()
        for sample in metric.samples
    }
    a, b = STATS
    assert samples == {
        ("vsock_proxy_connections_active", a): 2,
        ("vsock_proxy_connections_active", b): 0,
        ("vsock_proxy_connections_total", a, "closed"): 5,
        ("vsock_proxy_connections_total", a, "idle"): 1,
        ("vsock_proxy_refused_total", a, "dns"): 3,
        ("vsock_proxy_bytes_total", a, "to_upstream"): 1_000,
        ("vsock_proxy_bytes_total", a, "to_client"): 2_000,
        ("vsock_proxy_bytes_total", b, "to_upstream"): 0,
        ("vsock_proxy_bytes_total", b, "to_client"): 0,
        ("vsock_proxy_connections_max",): 100,
        ("vsock_proxy_resolver_failures_total",): 7,
    }


def test_each_request_reads_the_current_totals(served: tuple[int, dict[str, RouteStats]]) -> None:
    port, stats = served
    for active in (3, 4):
        stats["a -> b"].active = active
        assert read(port)['vsock_proxy_connections_active{route="a -> b"}'] == active


def test_only_loopback_is_listened_on(served: tuple[int, dict[str, RouteStats]]) -> None:
    read(served[0])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", served[0]), timeout=10)


def test_nothing_but_the_proxys_own_metrics_is_served(served: tuple[int, dict[str, RouteStats]]) -> None:
    assert all(name.startswith("vsock_proxy_") for name in read(served[0]))


def test_error_names_a_port_that_is_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(TransportError, match=f"serve metrics on tcp://127.0.0.1:{port}: address already in use"):
            serve_metrics(collector(), port)
