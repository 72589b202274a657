"""What Prometheus reads: the current totals, on loopback only."""

from __future__ import annotations

import contextlib
import errno
import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import pytest

from vsock_proxy.daemon.metrics import (
    MAX_SCRAPES,
    SCRAPE_TIMEOUT_S,
    ProxyCollector,
    open_metrics_server,
    serve_metrics,
)
from vsock_proxy.relay.outcomes import EndReason, Refusal, RouteStats
from vsock_wire.errors import TransportError

STATS = {
    "unix:/a -> a.com:443": RouteStats(
        active=2,
        ended=Counter({EndReason.CLOSED: 5, EndReason.IDLE: 1}),
        refused=Counter({Refusal.DNS: 3}),
        to_upstream_bytes=1_000,
        to_client_bytes=2_000,
        limit=50,
    ),
    "unix:/b -> b.com:443": RouteStats(),
}


def collector(stats: dict[str, RouteStats] = STATS, failures: int = 0) -> ProxyCollector:
    return ProxyCollector(lambda: stats, lambda: failures, 100)


@contextlib.contextmanager
def running(collector: ProxyCollector, *, timeout_s: float = SCRAPE_TIMEOUT_S) -> Iterator[int]:
    """Serve on a port that the kernel chooses."""
    server = open_metrics_server(collector, 0)
    server.timeout_s = timeout_s
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[int, dict[str, RouteStats]]]:
    """A server whose totals the test may change."""
    stats = {"a -> b": RouteStats()}
    with running(collector(stats)) as port:
        yield port, stats


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
        ("vsock_proxy_route_connections_max", a): 50,
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


def test_counter_never_goes_backwards() -> None:
    """A total that is read in the middle of a change may be too small; Prometheus would count everything again."""
    stats = {"r": RouteStats(to_upstream_bytes=10, ended=Counter({EndReason.CLOSED: 2}))}
    reading = collector(stats)
    values = []
    for count in (10, 7, 12):
        stats["r"].to_upstream_bytes = count
        stats["r"].ended[EndReason.CLOSED] = count
        values.append([s.value for m in reading.collect() for s in m.samples if s.labels.get("reason") == "closed"])
        values.append([s.value for m in reading.collect() for s in m.samples if "to_upstream" in s.labels.values()])
    assert values == [[10], [10], [10], [10], [12], [12]]


def test_clients_beyond_the_limit_are_closed_and_the_rest_is_served() -> None:
    with running(collector()) as port, contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)) for _ in range(MAX_SCRAPES)
        ]
        with socket.create_connection(("127.0.0.1", port), timeout=10) as surplus:
            assert surplus.recv(1) == b""
        silent.pop().close()
        while True:  # until the server has noticed that the client has gone
            with contextlib.suppress(OSError, http.client.HTTPException):
                assert "vsock_proxy_connections_max" in read(port)
                break


def test_silent_client_is_closed_in_time() -> None:
    with (
        running(collector(), timeout_s=0.05) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as client,
    ):
        assert client.recv(1) == b""


def test_client_that_drips_its_request_is_closed_in_time() -> None:
    with (
        running(collector(), timeout_s=0.05) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as client,
    ):
        client.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(1_000):  # 10 s, and far from the longest line that the server reads
                client.sendall(b"x")
                time.sleep(0.01)
            pytest.fail("the server still reads")


def test_server_without_a_free_descriptor_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request stays readable, so a server that tried again at once would use a whole processor."""
    pauses: list[float] = []
    server = open_metrics_server(collector(), 0)
    monkeypatch.setattr(time, "sleep", pauses.append)

    class Exhausted:
        def accept(self) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

    with contextlib.closing(server.socket):
        server.socket, kept = Exhausted(), server.socket  # type: ignore[assignment] # all that is used of it
        with pytest.raises(OSError, match="Too many open files"):
            server.get_request()
        server.socket = kept
    assert len(pauses) == 1


def test_name_server_is_not_asked_for_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda *_: pytest.fail("a reverse lookup"))
    open_metrics_server(collector(), 0).server_close()
