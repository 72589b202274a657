"""The ten test cases of AWS's vsock-proxy, with what differs on purpose.

Source: aws-nitro-enclaves-cli, vsock_proxy/src/dns.rs (eight, one of which only chooses the names), src/proxy.rs and
tests/connection_test.rs. AWS's tests use ``localhost`` and ``::1`` unless they may reach the Internet, and so do these.
docs/reference/proxy.md lists the differences.
"""

from __future__ import annotations

import asyncio
import os
import socket
from ipaddress import ip_address

import pytest

from tests.support.proxy.bench import Bench
from tests.support.proxy.processes import Upstream, ask, echo, read_exactly
from vsock_proxy.config.destination import IpAddress
from vsock_proxy.dial.lookup import look_up
from vsock_proxy.errors import ResolveError
from vsock_proxy.settings import DNS_REFRESH_S, AddressFamily

IPV4_ONLY = DUAL = "localhost"
IPV6_ONLY = "::1"
INVALID = "invalid-domain"
AWS_BUFFER_BYTES = 8_192


def resolve(name: str, family: AddressFamily = AddressFamily.ANY) -> tuple[IpAddress, ...]:
    return asyncio.run(look_up(name, family))


def test_init() -> None:
    """AWS's only chooses the names; here they must be what the other cases take them for."""
    assert ip_address("127.0.0.1") in resolve(IPV4_ONLY)
    assert resolve(IPV6_ONLY) == (ip_address("::1"),)


def test_resolve_valid_domain() -> None:
    assert resolve(IPV4_ONLY)


def test_resolve_valid_dual_ip_domain() -> None:
    assert resolve(DUAL)


def test_resolve_invalid_domain() -> None:
    """AWS's text is only ``DNS lookup failed!``; here the name and the reason follow."""
    with pytest.raises(ResolveError, match="DNS lookup failed: invalid-domain: "):
        resolve(INVALID)


def test_resolve_ipv4_only() -> None:
    assert {address.version for address in resolve(IPV4_ONLY, AddressFamily.IPV4)} == {4}


def test_resolve_ipv6_only() -> None:
    assert {address.version for address in resolve(IPV6_ONLY, AddressFamily.IPV6)} == {6}


def test_resolve_no_accepted_ip(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS's resolver reads no /etc/hosts, in which ``localhost`` may be ``::1``, too; the system's does."""

    def only_ipv4(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_ADDRFAMILY, "Address family for hostname not supported")

    monkeypatch.setattr("socket.getaddrinfo", only_ipv4)
    with pytest.raises(ResolveError, match="No accepted IP was found: localhost"):
        resolve(IPV4_ONLY, AddressFamily.IPV6)


def test_resolve_single_address(bench: Bench) -> None:
    """Differs: all addresses are raced, and the system's resolver reports no TTL, so names are resolved every 30 s."""
    with Upstream(echo) as upstream:
        bench.start(IPV4_ONLY, upstream.port)
        assert ask(bench.connect(), b"hello") == b"hello"
    assert DNS_REFRESH_S > 0


def test_transfer(bench: Bench) -> None:
    data = os.urandom(2 * AWS_BUFFER_BYTES)
    with Upstream(echo) as upstream:
        bench.start("127.0.0.1", upstream.port)
        assert ask(bench.connect(), data) == data


def test_tcp_connection(bench: Bench) -> None:
    """Over a unix socket here, and over vsock in tests/vsock/test_proxy_over_vsock.py."""

    def serve(client: socket.socket) -> None:
        assert read_exactly(client, 13) == b"client2server"
        client.sendall(b"server2client")

    with Upstream(serve) as upstream:
        bench.start("127.0.0.1", upstream.port, "-w", "2")
        client = bench.connect()
        client.sendall(b"client2server")
        assert read_exactly(client, 13) == b"server2client"
