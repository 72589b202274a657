"""Ingress: clients outside reach an enclave, which unix sockets stand for here."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from nitro_simulator.pki.tls import TlsAuthority
from tests.support.proxy.bench import Bench
from tests.support.proxy.processes import PATIENCE_S, Proxy, Upstream, ask, echo, read_all, read_exactly
from tests.support.proxy.scripted_nitro_cli import enclave as enclave_shown
from tests.support.proxy.scripted_nitro_cli import nitro_cli
from vsock_wire.net.address import UnixAddress

HEADER = bytes.fromhex("0d0a0d0a000d0a515549540a2111000c")
"""Of the PROXY protocol: version 2, TCP over IPv4, 12 bytes of addresses and ports."""


@pytest.fixture
def enclave(bench: Bench) -> Path:
    return bench.folder / "enclave.sock"


def start(bench: Bench, enclave: Path, listen: str, options: str = "") -> tuple[Proxy, str]:
    """Start a proxy that leads from ``listen`` to the enclave; return it and where it listens."""
    bench.config.write_text(
        f"allowlist: []\nenclaves: [{{path: {enclave}}}]\n"
        f"routes: [{{listen: '{listen}', to: 'unix:{enclave}'{options}}}]\n"
    )
    proxy = bench.run()
    return proxy, proxy.wait_for("listening state").partition("state: ")[2].split()[0]


@contextlib.contextmanager
def tcp_client(address: str) -> Iterator[socket.socket]:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as client:
        yield client


def test_client_over_tcp_reaches_the_enclave_and_both_directions_half_close(bench: Bench, enclave: Path) -> None:
    def answer_at_end(client: socket.socket) -> None:
        client.sendall(read_all(client)[::-1])

    with Upstream(answer_at_end, address=UnixAddress(str(enclave))):
        proxy, address = start(bench, enclave, "tcp://127.0.0.1:0")
        with tcp_client(address) as client:
            client.sendall(b"question")
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b"noitseuq"
        assert f"-> unix:{enclave}: 8 bytes to upstream, 8 bytes to client" in proxy.wait_for("connection from")


def test_client_over_a_unix_socket_reaches_the_enclave(bench: Bench, enclave: Path) -> None:
    with Upstream(echo, address=UnixAddress(str(enclave))):
        start(bench, enclave, f"unix:{bench.path}")
        assert ask(bench.connect(), b"hello") == b"hello"


def test_enclave_hears_who_is_calling_if_the_route_says_so(bench: Bench, enclave: Path) -> None:
    with Upstream(echo, address=UnixAddress(str(enclave))):
        _, address = start(bench, enclave, "tcp://127.0.0.1:0", ", proxy_protocol: v2")
        with tcp_client(address) as client:
            client.sendall(b"hello")
            names = [client.getsockname(), client.getpeername()]
            expected = HEADER + b"".join(socket.inet_aton(host) for host, _ in names)
            expected += b"".join(port.to_bytes(2, "big") for _, port in names)
            assert read_exactly(client, len(expected) + 5) == expected + b"hello"


def test_enclave_hears_nothing_that_the_client_has_not_sent_by_default(bench: Bench, enclave: Path) -> None:
    with Upstream(echo, address=UnixAddress(str(enclave))):
        _, address = start(bench, enclave, "tcp://127.0.0.1:0")
        with tcp_client(address) as client:
            assert ask(client, HEADER) == HEADER


def test_tls_of_a_client_ends_in_the_enclave(bench: Bench, enclave: Path, tmp_path: Path) -> None:
    authority = TlsAuthority.create()
    server = authority.server_certificate("service.example").ssl_context()

    def serve(client: socket.socket) -> None:
        with server.wrap_socket(client, server_side=True) as tls:
            echo(tls)

    (tmp_path / "ca.pem").write_bytes(authority.ca_pem)
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    with Upstream(serve, address=UnixAddress(str(enclave))):
        _, address = start(bench, enclave, "tcp://127.0.0.1:0")
        with (
            tcp_client(address) as client,
            context.wrap_socket(client, server_hostname="service.example") as tls,
        ):
            assert ask(tls, b"inside") == b"inside"


def test_enclave_that_does_not_run_is_named_in_the_log(bench: Bench, enclave: Path) -> None:
    proxy, address = start(bench, enclave, "tcp://127.0.0.1:0")
    with tcp_client(address) as client, contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""
    assert f"connect to unix:{enclave}: no such file or directory" in proxy.wait_for("refused")


@pytest.mark.parametrize(
    ("enclaves", "to"),
    [
        ("[]", "vsock://16:5000"),
        ("[{cid: 16, port: 5001}]", "vsock://16:5000"),
        ("[{cid: 17, port: 5000}]", "vsock://16:5000"),
        ("[{name: web, port: 5000}]", "vsock://16:5000"),
        ("[{cid: 16, port: 5000}]", "vsock://web:5000"),
        ("[{path: /run/a}]", "unix:/run/b"),
    ],
)
def test_enclave_that_is_not_listed_is_refused_with_the_file_to_edit(bench: Bench, enclaves: str, to: str) -> None:
    bench.config.write_text(
        f"allowlist: []\nenclaves: {enclaves}\nroutes: [{{listen: 'tcp://127.0.0.1:0', to: '{to}'}}]\n"
    )
    with Proxy("--config", str(bench.config)) as proxy:
        assert proxy.wait() == 5
        assert f"{bench.config} line 3: to: {to} is not one of the permitted enclaves\n" in proxy.log
        assert f"hint: add it to enclaves in {bench.config}\n" in proxy.log


def test_enclave_of_a_name_that_does_not_run_is_refused_with_a_hint(bench: Bench, tmp_path: Path) -> None:
    nitro_cli(tmp_path, enclave_shown("db", 16))
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    bench.config.write_text(
        "allowlist: []\nenclaves: [{name: web, port: 5000}]\n"
        "routes: [{listen: 'tcp://127.0.0.1:0', to: 'vsock://web:5000'}]\n"
    )
    with Proxy("check", "--config", str(bench.config), environment=path) as check:
        assert check.wait() == 3
        assert "enclave web: none, or more than one, of this name runs" in check.log
        assert "hint: nitro-cli describe-enclaves must show it" in check.log


def test_check_tries_the_enclave_of_an_ingress_route(bench: Bench, enclave: Path) -> None:
    with Upstream(echo, address=UnixAddress(str(enclave))):
        start(bench, enclave, "tcp://127.0.0.1:0")
        with Proxy("check", "--config", str(bench.config)) as check:
            assert check.process.stdout is not None
            assert (check.wait(), check.log) == (0, "")
            lines = check.process.stdout.read().splitlines()
    assert f"allow enclave unix:{enclave}" in lines
    assert f"ok, unix:{enclave} answered in" in lines[-1]
