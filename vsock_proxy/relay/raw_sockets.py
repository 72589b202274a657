"""What can be asked of a socket that is only a descriptor."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator

TCP_FAMILIES = (socket.AF_INET, socket.AF_INET6)
KEEPALIVE_IDLE_S = 60
KEEPALIVE_INTERVAL_S = 15
KEEPALIVE_PROBES = 4
"""A TCP peer that vanishes silently is noticed after 60 + 4 x 15 seconds. Sixty seconds are also below the 350 s after
which AWS's NAT gateways and network load balancers drop an idle connection."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""struct linger of <sys/socket.h>: on, 0 seconds, so that closing a TCP socket sends RST."""


def probe(number: int) -> OSError | None:
    """Return why nothing can be written to a connected socket; None if something can, now or later."""
    try:
        os.write(number, b"")
    except BlockingIOError:
        return None
    except OSError as error:
        return error
    return None


def has_unread_bytes(number: int) -> bool:
    """Return whether a peer has sent something that nobody has read yet."""
    with _borrowed(number) as sock:
        try:
            return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False


def shut_down_writing(number: int) -> None:
    """Tell the peer that nothing more will come."""
    sock = socket.SocketType(socket.AF_UNIX, socket.SOCK_STREAM, 0, number)  # any family does for this
    try:
        sock.shutdown(socket.SHUT_WR)
    finally:
        sock.detach()


def reset_on_close(number: int) -> None:
    """Make closing a TCP socket send a reset."""
    with _borrowed(number) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def send_at_once(number: int) -> None:
    """Turn off Nagle's algorithm for a TCP socket; one that has just been reset is not an error."""
    with contextlib.suppress(OSError), _borrowed(number) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def keep_alive(number: int) -> None:
    """Turn on a TCP socket's keepalive probes; one that has just been reset is not an error."""
    with contextlib.suppress(OSError), _borrowed(number) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


def take_error(number: int) -> OSError | None:
    """Return and clear the error that the kernel keeps for a socket."""
    with _borrowed(number) as sock:
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return OSError(code, os.strerror(code)) if code else None


@contextlib.contextmanager
def _borrowed(number: int) -> Iterator[socket.socket]:
    sock = socket.socket(fileno=number)
    try:
        yield sock
    finally:
        sock.detach()
