"""Logs, metrics, and what the proxy tells systemd."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import sys

import pytest

from tests.support.proxy.bench import Bench
from tests.support.proxy.processes import (
    PATIENCE_S,
    READY,
    VSOCK_PROXY,
    Proxy,
    Upstream,
    ask,
    closed_port,
    echo,
    read_all,
)

PLAY_SYSTEMD = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3, inheritable=True); os.environ['LISTEN_PID'] = str(os.getpid());"
    "os.environ['LISTEN_FDS'] = '1'; os.execv(sys.argv[2], sys.argv[2:])"
)
"""Plays systemd: makes the descriptor in its first argument number 3, and becomes the program in the others."""


def test_connection_is_one_log_line_with_all_that_matters(bench: Bench) -> None:
    with Upstream(lambda client: client.sendall(client.recv(100) * 2)) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port)
        client = bench.connect()
        client.sendall(b"12345")
        assert read_all(client) == b"1234512345"
        client.close()
        line = proxy.wait_for("connection from")
    assert re.search(
        rf"connection from unix:\S+: unix:{bench.path} -> 127\.0\.0\.1:{upstream.port}: "
        r"5 bytes to upstream, 10 bytes to client, 0\.\d{3} s, closed\n$",
        line,
    )


def test_json_log_holds_one_object_per_line(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port, "--log-format", "json")
        with bench.connect() as client:
            assert ask(client, b"123") == b"123"
        report = json.loads(proxy.wait_for('"event": "connection"'))
        assert proxy.stop() == 0
        lines = [json.loads(line) for line in proxy.log.splitlines()]
    assert (report["level"], report["reason"]) == ("info", "closed")
    assert (report["to_upstream_bytes"], report["to_client_bytes"]) == (3, 3)
    assert report["route"] == f"unix:{bench.path} -> 127.0.0.1:{upstream.port}"
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)


def test_quiet_proxy_logs_no_connections(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        bench.allow(("127.0.0.1", upstream.port))
        with Proxy("-q", "--config", str(bench.config), f"unix:{bench.path}", "127.0.0.1", str(upstream.port)) as proxy:
            while not bench.path.exists():
                assert proxy.process.poll() is None
            with bench.connect() as client:
                assert ask(client, b"123") == b"123"
            assert proxy.stop() == 0
            assert proxy.log == ""


def read_metrics(proxy: Proxy) -> dict[str, float]:
    port = int(proxy.wait_for("metrics on ").removesuffix("/metrics\n").rpartition(":")[2])
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_metrics_count_connections_refusals_and_bytes(bench: Bench) -> None:
    with Upstream(echo) as upstream, closed_port() as closed:
        bench.allow(
            ("127.0.0.1", upstream.port),
            ("127.0.0.1", closed),
            routes=f"routes:\n- {{listen: 'unix:{bench.folder}/closed', address: 127.0.0.1, port: {closed}}}\n",
        )
        proxy = bench.run("-w", "7", "--metrics", "0", f"unix:{bench.path}", "127.0.0.1", str(upstream.port))
        with bench.connect() as client:
            assert ask(client, b"12345") == b"12345"
            live = read_metrics(proxy)
        proxy.wait_for(" closed\n")
        assert bench.connect(bench.folder / "closed").recv(1) == b""
        proxy.wait_for("refused")
        after = read_metrics(proxy)
    route = f'route="unix:{bench.path} -> 127.0.0.1:{upstream.port}"'
    assert live[f"vsock_proxy_connections_active{{{route}}}"] == 1
    assert live[f'vsock_proxy_bytes_total{{direction="to_upstream",{route}}}'] == 5
    assert live["vsock_proxy_connections_max"] == 7
    assert after[f"vsock_proxy_connections_active{{{route}}}"] == 0
    assert after[f'vsock_proxy_connections_total{{reason="closed",{route}}}'] == 1
    assert after[f'vsock_proxy_bytes_total{{direction="to_client",{route}}}'] == 5
    refused = f'route="unix:{bench.folder}/closed -> 127.0.0.1:{closed}"'
    assert after[f'vsock_proxy_refused_total{{reason="connect",{refused}}}'] == 1


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_ready_watchdog_and_stopping(bench: Bench, abstract: bool) -> None:
    name = f"\0{bench.folder.name}" if abstract else str(bench.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, Upstream(echo) as upstream:
        manager.bind(name)
        manager.settimeout(PATIENCE_S)
        environment = {"NOTIFY_SOCKET": name.replace("\0", "@"), "WATCHDOG_USEC": "200000"}
        proxy = bench.start("127.0.0.1", upstream.port, environment=environment)
        heard = [manager.recv(100) for _ in range(4)]
        proxy.process.send_signal(signal.SIGTERM)
        while heard[-1] != b"STOPPING=1":
            heard.append(manager.recv(100))
        assert proxy.wait() == 0
    assert heard.count(b"READY=1") == 1
    assert heard.count(b"WATCHDOG=1") >= 3


def test_socket_opened_by_systemd_is_used_and_left_in_place(bench: Bench) -> None:
    with Upstream(echo) as upstream, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(bench.path))
        listener.listen()
        early = bench.connect()
        bench.allow(("127.0.0.1", upstream.port))
        arguments = [
            "--drain-timeout",
            "0",
            "--config",
            str(bench.config),
            f"unix:{bench.path}",
            "127.0.0.1",
            str(upstream.port),
        ]
        with Proxy(
            *("-c", PLAY_SYSTEMD, str(listener.fileno()), VSOCK_PROXY, *arguments),
            program=sys.executable,
            pass_fds=[listener.fileno()],
        ) as proxy:
            proxy.wait_for(READY)
            assert ask(early, b"waited") == b"waited"
            assert proxy.stop() == 0
        assert bench.path.exists()
        bench.connect()


def test_socket_of_systemd_that_no_route_listens_on_is_refused(bench: Bench) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(bench.folder / "other"))
        listener.listen()
        bench.allow(("127.0.0.1", 1))
        with Proxy(
            *("-c", PLAY_SYSTEMD, str(listener.fileno()), VSOCK_PROXY),
            *("--config", str(bench.config), f"unix:{bench.path}", "127.0.0.1", "1"),
            program=sys.executable,
            pass_fds=[listener.fileno()],
        ) as proxy:
            assert proxy.wait() == 1
            assert "socket activation: no route listens on unix:" in proxy.log
