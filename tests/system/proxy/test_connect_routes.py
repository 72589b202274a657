"""CONNECT routes: one port to every permitted host, and what is refused with which answer."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import pytest

import tests.support.proxy.scripted_resolver
from tests.support.proxy.bench import Bench
from tests.support.proxy.processes import Proxy, Upstream, ask, closed_port, echo, read_all, read_exactly

OK = b"HTTP/1.1 200 Connection established\r\n\r\n"
RESOLVER = str(Path(tests.support.proxy.scripted_resolver.__path__[0]))


def start(bench: Bench, *allowed: tuple[str, int], options: str = "", hosts: str = "localhost 127.0.0.1\n") -> Proxy:
    """Start a proxy whose only route is a CONNECT route, with names of the test's own."""
    (bench.folder / "hosts").write_text(hosts)
    bench.allow(*allowed, routes=f"routes: [{{listen: 'unix:{bench.path}', connect: true{options}}}]\n")
    return bench.run(environment={"PYTHONPATH": RESOLVER, "SCRIPTED_HOSTS": str(bench.folder / "hosts")})


def connect(bench: Bench, target: str, *, more: bytes = b"") -> socket.socket:
    client = bench.connect()
    client.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode() + more)
    return client


def tunnel(bench: Bench, target: str) -> socket.socket:
    client = connect(bench, target)
    assert read_exactly(client, len(OK)) == OK
    return client


def refusal(bench: Bench, target: str) -> str:
    return read_all(connect(bench, target)).decode()


def test_one_port_leads_to_every_permitted_host_whatever_the_case_and_a_trailing_dot(bench: Bench) -> None:
    with Upstream(echo) as first, Upstream(lambda client: client.sendall(b"second")) as second:
        proxy = start(
            bench,
            ("a.example", first.port),
            ("b.example", second.port),
            ("127.0.0.0/8", first.port),
            hosts="a.example 127.0.0.1\nb.example 127.0.0.1\n",
        )
        for name in ("a.example", "A.Example", "a.example.", "127.0.0.1", "[::ffff:127.0.0.1]"):
            assert ask(tunnel(bench, f"{name}:{first.port}"), b"hello") == b"hello"
        with tunnel(bench, f"b.example:{second.port}") as client:
            assert read_all(client) == b"second"
        line = proxy.wait_for(f"b.example:{second.port}")
        assert f"{bench.path} -> CONNECT b.example:{second.port}: 0 bytes to upstream" in line


def test_host_that_is_not_listed_gets_403_with_the_file_to_edit(bench: Bench) -> None:
    proxy = start(bench, ("a.example", 443))
    answer = refusal(bench, "evil.example:443")
    assert answer.startswith("HTTP/1.1 403 Forbidden: The given address and port are not allowed: evil.example:443; ")
    hint = f"add {{address: evil.example, port: 443}} to allowlist in {bench.config}"
    assert hint in answer.splitlines()[0]
    assert answer.endswith(f"\nhint: {hint}\n")
    assert "evil.example:443" in proxy.wait_for("refused")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("a.example:80", 403),
        ("b.a.example:443", 403),
        ("127.0.0.1:443", 403),
        ("[::1]:443", 403),
        ("[::ffff:127.0.0.1]:443", 403),
        ("[2001:db8::1]:443", 403),
        ("user@a.example:443", 400),
        ("user:secret@a.example:443", 400),
        ("a.example", 400),
        ("127.1:443", 400),
        ("http://a.example:443", 400),
    ],
)
def test_host_or_port_that_is_not_listed_is_refused(bench: Bench, target: str, status: int) -> None:
    """The name's own address is not listed, either: a client cannot avoid the name."""
    proxy = start(bench, ("a.example", 443), hosts="a.example 127.0.0.1\nb.a.example 127.0.0.1\n")
    answer = refusal(bench, target)
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert "secret" not in answer + proxy.wait_for("refused")


def test_name_that_cannot_be_permitted_is_never_looked_up(bench: Bench) -> None:
    """Otherwise a program in the enclave could send data out in DNS queries. The name would hang if it was asked."""
    proxy = start(bench, ("a.example", 443), hosts="secret.evil.example hang\n")
    assert refusal(bench, "secret.evil.example:443").startswith("HTTP/1.1 403 ")
    assert "the scripted resolver hangs" not in proxy.log


def test_destination_that_does_not_work_gets_502_and_one_that_does_not_answer_504(bench: Bench) -> None:
    with closed_port() as port:
        start(
            bench,
            ("a.example", port),
            ("gone.example", port),
            ("slow.example", port),
            options=", connect_timeout: 0.2",
            hosts="a.example 127.0.0.1\nslow.example hang\n",
        )
        assert refusal(bench, f"a.example:{port}").startswith("HTTP/1.1 502 Bad Gateway: connect to a.example:")
        assert refusal(bench, f"gone.example:{port}").startswith("HTTP/1.1 502 Bad Gateway: DNS lookup failed: gone")
        assert refusal(bench, f"slow.example:{port}").startswith("HTTP/1.1 504 Gateway Timeout: DNS lookup failed: ")


def test_bytes_after_the_head_are_the_first_of_the_tunnel(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        start(bench, ("localhost", upstream.port))
        early = os.urandom(100_000)
        client = connect(bench, f"localhost:{upstream.port}", more=early)
        assert read_exactly(client, len(OK)) == OK
        assert read_exactly(client, len(early)) == early


def test_tunnel_half_closes_in_both_directions(bench: Bench) -> None:
    def answer_at_end(client: socket.socket) -> None:
        client.sendall(read_all(client)[::-1])

    with Upstream(answer_at_end) as upstream:
        start(bench, ("localhost", upstream.port))
        client = tunnel(bench, f"localhost:{upstream.port}")
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"noitseuq"


def test_head_that_is_too_large_is_refused(bench: Bench) -> None:
    proxy = start(bench, ("localhost", 1))
    client = bench.connect()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        client.sendall(b"CONNECT localhost:1 HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 20_000)
    assert read_all(client).startswith(b"HTTP/1.1 431 ")
    proxy.wait_for("the head of the request is larger than 8192 bytes")


@pytest.mark.parametrize("head", [b"", b"CONNECT localhost:1 HTTP/1.1\r\nHost: x\r\nA: "])
def test_head_that_drips_is_refused_at_the_connect_timeout(bench: Bench, head: bytes) -> None:
    start(bench, ("localhost", 1), options=", connect_timeout: 0.3")
    client = bench.connect()
    client.sendall(head)
    client.setblocking(False)
    answer = b""
    for _ in range(2_000):  # 20 s, and far from the largest head
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            if head:
                client.send(b"x")
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            answer += (data := client.recv(65_536))
            if not data:
                break
        time.sleep(0.01)
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout: the request did not come within 0.3 s")


def test_reload_changes_what_the_next_request_may_reach(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        proxy = start(bench, ("localhost", upstream.port))
        kept = tunnel(bench, f"localhost:{upstream.port}")
        bench.config.write_text(bench.config.read_text().replace("address: localhost", "address: other.example"))
        proxy.process.send_signal(signal.SIGHUP)
        proxy.wait_for("reloaded")
        assert refusal(bench, f"localhost:{upstream.port}").startswith("HTTP/1.1 403 ")
        assert ask(kept, b"still open") == b"still open"


def test_limit_of_a_route_leaves_the_other_routes_alone(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        other = bench.folder / "other.sock"
        bench.allow(
            ("127.0.0.1", upstream.port),
            routes="routes:\n"
            f"- {{listen: 'unix:{bench.path}', connect: true, max_connections: 1, connect_timeout: 0.2}}\n"
            f"- {{listen: 'unix:{other}', address: 127.0.0.1, port: {upstream.port}}}\n",
        )
        proxy = bench.run()
        proxy.wait_for("listening state", times=2)
        first = tunnel(bench, f"127.0.0.1:{upstream.port}")
        answer = refusal(bench, f"127.0.0.1:{upstream.port}")
        assert answer.startswith("HTTP/1.1 503 Service Unavailable: all connections are in use, and none has ended")
        proxy.wait_for("refused")
        assert ask(bench.connect(other), b"other") == b"other"
        first.close()
        proxy.wait_for("connection from", times=1)
        assert ask(tunnel(bench, f"127.0.0.1:{upstream.port}"), b"next") == b"next"


def test_idle_timeout_of_a_route_closes_only_its_connections(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        other = bench.folder / "other.sock"
        bench.allow(
            ("127.0.0.1", upstream.port),
            routes="routes:\n"
            f"- {{listen: 'unix:{bench.path}', connect: true, idle_timeout: 0.2}}\n"
            f"- {{listen: 'unix:{other}', address: 127.0.0.1, port: {upstream.port}}}\n",
        )
        proxy = bench.run()
        proxy.wait_for("listening state", times=2)
        kept = bench.connect(other)
        idle = tunnel(bench, f"127.0.0.1:{upstream.port}")
        with contextlib.suppress(ConnectionResetError):
            assert idle.recv(1) == b""
        assert "no byte moved for 0.2 s" in proxy.wait_for("connection from")
        assert ask(kept, b"still open") == b"still open"


def test_any_http_client_that_knows_proxies_can_use_the_route(bench: Bench) -> None:
    """Python's own is one; it shows the reason of a refusal, which holds the hint."""
    import http.client

    def serve(client: socket.socket) -> None:
        client.recv(65_536)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    with Upstream(serve) as upstream:
        bench.allow(
            ("127.0.0.1", upstream.port),
            routes="routes: [{listen: 'tcp://127.0.0.1:0', connect: true}]\n",
        )
        proxy = bench.run()
        port = int(proxy.wait_for("listening state").partition("tcp://127.0.0.1:")[2].split()[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.set_tunnel("127.0.0.1", upstream.port)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hi"
        connection.close()
        refused = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        refused.set_tunnel("evil.example", 443)
        with pytest.raises(OSError, match=r"403 Forbidden: .*add \{address: evil.example, port: 443\} to allowlist in"):
            refused.connect()


def test_check_tries_every_host_of_a_connect_route(bench: Bench) -> None:
    with Upstream(echo) as upstream, closed_port() as port:
        bench.allow(
            ("127.0.0.1", upstream.port),
            ("127.0.0.1", port),
            ("10.0.0.0/8", 443),
            routes=f"routes: [{{listen: 'unix:{bench.path}', connect: true}}]\n",
        )
        with Proxy("check", "--config", str(bench.config)) as check:
            assert check.process.stdout is not None
            assert (check.wait(), check.log) == (0, "")
            lines = check.process.stdout.read().splitlines()
        route = f"route unix:{bench.path} -> CONNECT: 127.0.0.1"
        assert f"{route}:{port}: failed: connect to 127.0.0.1:{port}: connection refused, tried 127.0.0.1" in lines
        assert any(line.startswith(f"{route}:{upstream.port}: ok, 127.0.0.1 answered in ") for line in lines)


def test_check_fails_if_no_host_of_a_connect_route_answers(bench: Bench) -> None:
    with closed_port() as port:
        bench.allow(("127.0.0.1", port), routes=f"routes: [{{listen: 'unix:{bench.path}', connect: true}}]\n")
        with Proxy("check", "--config", str(bench.config)) as check:
            assert check.wait() == 3
            assert "none of the 1 hosts in the allowlist answers" in check.log


def test_check_says_if_the_allowlist_names_no_host_that_it_could_try(bench: Bench) -> None:
    bench.allow(
        ("10.0.0.0/8", 443),
        ("'*.example'", 443),
        routes=f"routes: [{{listen: 'unix:{bench.path}', connect: true}}]\n",
    )
    with Proxy("check", "--config", str(bench.config)) as check:
        assert check.process.stdout is not None
        assert check.wait() == 0
        assert "-> CONNECT: not tried: the allowlist names no single host" in check.process.stdout.read()
