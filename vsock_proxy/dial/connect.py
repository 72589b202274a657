"""Connects to a destination: races all its addresses, of both families, as RFC 8305 describes."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address

from aiohappyeyeballs import AddrInfoType, start_connection

from vsock_proxy.config.destination import Destination, IpAddress
from vsock_proxy.errors import DialError
from vsock_proxy.settings import CONNECT_TIMEOUT_S

ATTEMPT_DELAY_S = 0.25
"""Seconds until the next address joins the race. Source: RFC 8305, section 5, "Connection Attempt Delay"."""
KEEPALIVE_IDLE_S = 60
KEEPALIVE_INTERVAL_S = 15
KEEPALIVE_PROBES = 4
"""A destination that vanishes silently is noticed after 60 + 4 x 15 seconds. Sixty seconds are also below the 350 s
after which AWS's NAT gateways and network load balancers drop an idle connection."""


async def connect_upstream(
    destination: Destination, addresses: Sequence[IpAddress], *, timeout_s: float = CONNECT_TIMEOUT_S
) -> socket.socket:
    """Connect to the first of ``addresses`` that answers; the caller closes the socket.

    Args:
        destination: gives the port, and the name for errors.
        addresses: what to try, best first; at least one.
        timeout_s: seconds for all attempts together.

    Raises:
        DialError: none answered in time.
    """
    try:
        infos = [_address_info(address, destination.port) for address in addresses]
        async with asyncio.timeout(timeout_s):
            sock = await start_connection(infos, happy_eyeballs_delay=ATTEMPT_DELAY_S)
    except TimeoutError as error:
        text = f"connect to {destination}: no answer within {timeout_s:.3g} s"
        raise DialError(text, timed_out=True) from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        tried = ", ".join(map(str, addresses))
        raise DialError(f"connect to {destination}: {reason.lower()}, tried {tried}") from error
    tune_tcp(sock)
    return sock


def tune_tcp(sock: socket.socket) -> None:
    """Set up a TCP socket for relaying: turn off Nagle's algorithm, and turn on keepalive probes."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


def _address_info(address: IpAddress, port: int) -> AddrInfoType:
    """Return what ``getaddrinfo`` would, which reads files and so needs a descriptor."""
    if isinstance(address, IPv4Address):
        return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port)
    host, _, scope = str(address).partition("%")
    scope_id = int(scope) if scope.isdigit() else socket.if_nametoindex(scope) if scope else 0
    return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, scope_id)
