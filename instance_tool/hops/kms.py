"""The checks of DNS and of the way to KMS. This instance repeats them if the enclave cannot reach KMS."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple

from instance_tool.hops.kms_hosts import kms_address
from vsock_wire.errors import TransportError, quoted
from vsock_wire.net.address import TcpAddress
from vsock_wire.net.sockets import connect_socket
from vsock_wire.protocol.diagnosis import Hop, HopName, HopState

CONNECT_TIMEOUT_S = 3.0
"""For connecting to KMS from here; the same as the enclave allows for its proxy."""
RESOLVE_TIMEOUT_S = 5.0
"""For resolving a name; the system's resolver waits as long before it retries. Source: resolv.conf(5), timeout."""


class KmsPlace(NamedTuple):
    """Where KMS is, as far as this instance believes it.

    Attributes:
        given: what the user says; None to take the enclave's report if it names a host of KMS in the region.
        reported: the host that the enclave reports, with the port if that is not 443.
        region: name of the region that the enclave uses.
    """

    given: TcpAddress | None
    reported: str
    region: str

    def address(self) -> TcpAddress | None:
        """Return the address that this instance may connect to; None if the enclave names a host of another kind."""
        return self.given or kms_address(self.reported, self.region)


def see_dns_and_kms(hops: Mapping[HopName, Hop], place: KmsPlace) -> Iterator[Hop]:
    """Yield both hops. If the enclave did not reach KMS through the proxy, check the way from here."""
    match hops.get(HopName.KMS):
        case Hop(state=HopState.FAILED) as kms:
            yield from _see_from_here(kms, place)
        case Hop(state=HopState.SKIPPED) as kms:
            yield Hop.skipped(HopName.DNS, HopName.PROXY)
            yield kms
        case Hop() as kms:
            yield Hop(HopName.DNS, HopState.OK, "the proxy resolves the name of KMS")
            yield kms


def _see_from_here(kms: Hop, place: KmsPlace) -> Iterator[Hop]:
    address = place.address()
    if address is None:
        detail = (
            f"not checked, because {quoted(place.reported)} is not a host of KMS in {quoted(place.region)}; if it is"
            " right, pass it with --proxy-remote"
        )
        yield Hop(HopName.DNS, HopState.SKIPPED, detail)
        yield kms
        return
    dns = _resolve(address)
    yield dns
    yield _reach(address, kms) if dns.state is HopState.OK else Hop.skipped(HopName.KMS, HopName.DNS)


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
