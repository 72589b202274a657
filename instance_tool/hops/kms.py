"""The checks of DNS and of the way to KMS. This instance repeats them if the enclave cannot reach KMS."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from queue import Empty, SimpleQueue
from threading import Thread

from vsock_wire.errors import TransportError
from vsock_wire.net.address import TcpAddress
from vsock_wire.net.sockets import connect_socket
from vsock_wire.protocol.diagnosis import Hop, HopName, HopState

CONNECT_TIMEOUT_S = 3.0
"""For connecting to KMS from here; the same as the enclave allows for its proxy."""
RESOLVE_TIMEOUT_S = 5.0
"""For resolving a name; the system's resolver waits as long before it retries. Source: resolv.conf(5), timeout."""


def parse_kms_host(host: str) -> TcpAddress:
    """Return the address of the KMS host that the enclave reports, which is not checked for being a host name."""
    name, _, port = host.partition(":")
    return TcpAddress(name, int(port) if port.isdigit() else 443)


def see_dns_and_kms(hops: Mapping[HopName, Hop], address: TcpAddress) -> Iterator[Hop]:
    """Yield both hops. If the enclave did not reach KMS through the proxy, check the way from here."""
    match hops.get(HopName.KMS):
        case Hop(state=HopState.FAILED) as kms:
            dns = _resolve(address)
            yield dns
            yield _reach(address, kms) if dns.state is HopState.OK else Hop.skipped(HopName.KMS, HopName.DNS)
        case Hop(state=HopState.SKIPPED) as kms:
            yield Hop.skipped(HopName.DNS, HopName.PROXY)
            yield kms
        case Hop() as kms:
            yield Hop(HopName.DNS, HopState.OK, "the proxy resolves the name of KMS")
            yield kms


def _resolve(address: TcpAddress) -> Hop:
    found: SimpleQueue[list[str] | str] = SimpleQueue()
    # getaddrinfo takes no timeout, so it runs in a daemon thread that ends with the process.
    Thread(target=lambda: found.put(_look_up(address)), daemon=True).start()
    try:
        places = found.get(timeout=RESOLVE_TIMEOUT_S)
    except Empty:
        places = f"no answer within {RESOLVE_TIMEOUT_S:g} s"
    if isinstance(places, str):
        hint = "the proxy resolves this name on this instance: check the VPC's DNS settings and the region"
        return Hop(HopName.DNS, HopState.FAILED, f"resolve {address.host}: {places}", hint)
    return Hop(HopName.DNS, HopState.OK, f"{address.host} resolves to {', '.join(places[:4])}")


def _look_up(address: TcpAddress) -> list[str] | str:
    """Return the addresses of a host, or the reason why there are none."""
    try:
        answers = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return (getattr(error, "strerror", None) or "not a valid host name").lower()
    return sorted({str(entry[4][0]) for entry in answers})


def _reach(address: TcpAddress, kms: Hop) -> Hop:
    """Return the failed hop to KMS, with a hint that depends on whether this instance can connect."""
    try:
        connect_socket(address, timeout_s=CONNECT_TIMEOUT_S).close()
    except TransportError as error:
        hint = "this instance cannot reach KMS: check security groups, routes and the VPC endpoint for KMS"
        return Hop(HopName.KMS, HopState.FAILED, f"{kms.detail}; from here: {error}", hint)
    hint = f"this instance reaches {address}, but the proxy does not: check its remote host, allowlist and log"
    return Hop(HopName.KMS, HopState.FAILED, kms.detail, hint)
