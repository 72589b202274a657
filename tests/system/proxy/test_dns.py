"""DNS that fails at startup, later, or for good, or that is slow; and names with several addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.proxy.bench import Bench
from tests.support.proxy.processes import Proxy, Upstream, ask, closed_port, echo

NAME = "kms.us-east-1.amazonaws.com"


class ScriptedDns:
    """Starts proxies with a system resolver that the test scripts."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._hosts = bench.folder / "hosts"
        self.set("")

    def set(self, addresses: str) -> None:
        new = self._hosts.with_suffix(".new")
        new.write_text(f"{NAME} {addresses}\n" if addresses else "")
        new.replace(self._hosts)

    def start(self, port: int, *options: str) -> Proxy:
        environment = {
            "PYTHONPATH": str(Path(__file__).parents[2] / "support" / "proxy" / "scripted_resolver"),
            "SCRIPTED_HOSTS": str(self._hosts),
        }
        return self.bench.start(NAME, port, "--dns-refresh", "0.1", *options, environment=environment)


@pytest.fixture
def dns(bench: Bench) -> ScriptedDns:
    return ScriptedDns(bench)


def test_name_that_does_not_resolve_at_the_start_serves_as_soon_as_it_does(bench: Bench, dns: ScriptedDns) -> None:
    with Upstream(echo) as upstream:
        proxy = dns.start(upstream.port)
        assert bench.connect().recv(1) == b""
        proxy.wait_for(f"refused unix:{bench.path}")
        assert "DNS lookup failed" in proxy.log
        dns.set("127.0.0.1")
        proxy.wait_for(f"{NAME} resolves to 127.0.0.1")
        assert ask(bench.connect(), b"hello") == b"hello"


def test_name_that_stops_resolving_for_good_is_served_by_its_last_addresses(bench: Bench, dns: ScriptedDns) -> None:
    dns.set("127.0.0.1")
    with Upstream(echo) as upstream:
        proxy = dns.start(upstream.port)
        earlier = bench.connect()
        assert ask(earlier, b"before") == b"before"
        dns.set("")
        proxy.wait_for("(failure 4, still using addresses")
        for _ in range(3):
            assert ask(bench.connect(), b"after") == b"after"
        assert ask(earlier, b"after") == b"after"
        dns.set("127.0.0.1")
        proxy.wait_for(f"{NAME} resolves to 127.0.0.1", times=2)


def test_resolver_that_never_answers_stops_neither_connections_nor_the_end(bench: Bench, dns: ScriptedDns) -> None:
    dns.set("127.0.0.1")
    with Upstream(echo) as upstream:
        proxy = dns.start(upstream.port)
        proxy.wait_for("resolves to 127.0.0.1")
        dns.set("hang")
        proxy.wait_for("the scripted resolver hangs")
        with bench.connect() as client:
            assert ask(client, b"during") == b"during"
        assert proxy.stop() == 0


def test_resolver_that_never_answers_at_the_start_costs_a_client_the_connect_timeout(
    bench: Bench, dns: ScriptedDns
) -> None:
    dns.set("hang")
    with Upstream(echo) as upstream:
        proxy = dns.start(upstream.port, "--connect-timeout", "0.2")
        assert bench.connect().recv(1) == b""
        proxy.wait_for(f"DNS lookup failed: {NAME}: no answer in time")
        assert proxy.stop() == 0


def test_new_address_is_used_without_a_restart(bench: Bench, dns: ScriptedDns) -> None:
    dns.set("127.0.0.2")
    with Upstream(echo) as first, Upstream(lambda client: client.sendall(b"other"), host="127.0.0.3", port=first.port):
        proxy = dns.start(first.port)
        assert bench.connect().recv(5) == b""
        dns.set("127.0.0.3")
        proxy.wait_for(f"{NAME} resolves to 127.0.0.3")
        assert bench.connect().recv(5) == b"other"


def test_every_address_but_the_last_refuses(bench: Bench, dns: ScriptedDns) -> None:
    dns.set("::1 127.0.0.2 127.0.0.3 127.0.0.4 127.0.0.1")
    with Upstream(echo) as upstream:
        dns.start(upstream.port)
        for _ in range(3):
            assert ask(bench.connect(), b"hello") == b"hello"


def test_every_address_refuses(bench: Bench, dns: ScriptedDns) -> None:
    dns.set("127.0.0.2 127.0.0.3")
    with closed_port() as port:
        proxy = dns.start(port)
        assert bench.connect().recv(1) == b""
        assert "connection refused, tried 127.0.0.2, 127.0.0.3" in proxy.wait_for("refused unix:")


def test_first_address_that_never_answers_does_not_delay_beyond_the_race(bench: Bench, dns: ScriptedDns) -> None:
    """192.0.2.1 is TEST-NET-1 (RFC 5737): nothing answers there, or it is unreachable; both must do."""
    dns.set("192.0.2.1 127.0.0.1")
    with Upstream(echo) as upstream:
        proxy = dns.start(upstream.port, "--connect-timeout", "5")
        client = bench.connect()
        assert ask(client, b"hello") == b"hello"
        client.close()
        seconds = float(proxy.wait_for(" closed\n").rpartition(" s,")[0].rpartition(" ")[2])
        assert seconds < 2


@pytest.mark.parametrize(("flag", "refused"), [("-4", "127.0.0.2"), ("-6", "::1")])
def test_family_flag_leaves_the_other_family_out(bench: Bench, dns: ScriptedDns, flag: str, refused: str) -> None:
    dns.set("::1 127.0.0.2")
    with closed_port() as port:
        proxy = dns.start(port, flag)
        assert bench.connect().recv(1) == b""
        assert proxy.wait_for("refused unix:").endswith(f"tried {refused}\n")
