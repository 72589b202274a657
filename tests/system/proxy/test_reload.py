"""SIGHUP: new rules and routes while connections stay open; a broken file changes nothing."""

from __future__ import annotations

import signal

import pytest

from tests.support.proxy.bench import Bench
from tests.support.proxy.processes import Upstream, ask, echo


def test_broken_file_keeps_the_old_rules_and_the_error_names_the_place(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port)
        bench.config.write_text(
            f"allowlist:\n- {{address: 127.0.0.1, port: {upstream.port}}}\n- {{address: x, prt: 1}}\n"
        )
        proxy.process.send_signal(signal.SIGHUP)
        assert f"{bench.config} line 3: port: No port field or invalid type" in proxy.wait_for(
            "reload failed, keeping the old configuration"
        )
        assert ask(bench.connect(), b"still") == b"still"
        bench.config.write_text("allowlist: [\n")
        proxy.process.send_signal(signal.SIGHUP)
        assert "Bad yaml format" in proxy.wait_for("reload failed", times=2)
        bench.config.unlink()
        proxy.process.send_signal(signal.SIGHUP)
        assert "Could not open the file" in proxy.wait_for("reload failed", times=3)
        assert ask(bench.connect(), b"still") == b"still"


def test_file_that_forbids_the_command_lines_route_is_refused(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        proxy = bench.start("127.0.0.1", upstream.port)
        bench.config.write_text("allowlist: []\n")
        proxy.process.send_signal(signal.SIGHUP)
        assert "The given address and port are not allowed" in proxy.wait_for("reload failed")
        assert ask(bench.connect(), b"still") == b"still"


def test_routes_come_and_go_while_connections_stay(bench: Bench) -> None:
    def route(name: str, port: int) -> str:
        return f"- {{listen: 'unix:{bench.folder}/{name}', address: 127.0.0.1, port: {port}}}\n"

    with Upstream(echo) as upstream, Upstream(lambda client: client.sendall(b"other")) as other:
        allowed = (("127.0.0.1", upstream.port), ("127.0.0.1", other.port))
        bench.allow(*allowed, routes="routes:\n" + route("stays", upstream.port) + route("goes", upstream.port))
        proxy = bench.run()
        client = bench.connect(bench.folder / "goes")
        assert ask(client, b"before") == b"before"
        bench.allow(*allowed, routes="routes:\n" + route("stays", other.port) + route("comes", upstream.port))
        proxy.process.send_signal(signal.SIGHUP)
        proxy.wait_for("reloaded")
        assert ask(client, b"after") == b"after"
        assert ask(bench.connect(bench.folder / "comes"), b"new") == b"new"
        assert bench.connect(bench.folder / "stays").recv(10) == b"other"
        with pytest.raises(FileNotFoundError):
            bench.connect(bench.folder / "goes")


def test_name_that_resolves_to_a_forbidden_address_is_refused_per_connection(bench: Bench) -> None:
    """The list has only a network, so that each connection depends on what the name resolves to."""
    with Upstream(echo) as upstream:
        bench.allow(("127.0.0.0/8", upstream.port))
        proxy = bench.run("-4", f"unix:{bench.path}", "localhost", str(upstream.port))
        assert ask(bench.connect(), b"inside") == b"inside"
        bench.allow(("10.0.0.0/8", upstream.port))
        proxy.process.send_signal(signal.SIGHUP)
        proxy.wait_for("reloaded")
        assert bench.connect().recv(1) == b""
        proxy.wait_for("The given address and port are not allowed: localhost")


def test_route_that_only_the_address_of_a_name_could_permit_is_looked_up_before_a_reload(bench: Bench) -> None:
    with Upstream(echo) as upstream:
        proxy = bench.start("localhost", upstream.port, "-4")
        route = f"routes: [{{listen: 'unix:{bench.folder}/new', address: %s, port: {upstream.port}}}]\n"
        bench.allow(("localhost", upstream.port), routes=route % "127.0.0.9")
        proxy.process.send_signal(signal.SIGHUP)
        assert f"not allowed: 127.0.0.9:{upstream.port}" in proxy.wait_for("reload failed")
        bench.allow(("localhost", upstream.port), routes=route % "127.0.0.1")
        proxy.process.send_signal(signal.SIGHUP)
        proxy.wait_for("reloaded")
        assert ask(bench.connect(bench.folder / "new"), b"hello") == b"hello"
