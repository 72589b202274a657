"""TCP connections that are made before a deadline, name resolution included."""

from __future__ import annotations

import socket
import time
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from vsock_wire.errors import ToolError


class NotConnectedError(ToolError):
    """The deadline passed before a connection was made."""


def dial(host: str, port: int, *, deadline: float) -> socket.socket:
    """Return a connected TCP socket; the caller closes it.

    Args:
        host: a name or a literal address; an IPv6 address has no brackets. The addresses of a name are tried in turn.
        port: TCP port.
        deadline: when to give up, in the seconds of ``time.monotonic``.

    Raises:
        NotConnectedError: the deadline passed.
        OSError: the name cannot be resolved, or the last of its addresses refuses.
    """
    failure: ToolError | OSError = NotConnectedError("the deadline passed")
    for family, address in _addresses(host, port, deadline):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(seconds_until(deadline))
            sock.connect(address)
        except TimeoutError:
            sock.close()
            break
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def seconds_until(deadline: float) -> float:
    """Return the seconds that are left, for a socket's timeout.

    Raises:
        TimeoutError: none are left. A timeout of 0 would mean not to wait at all.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline passed")
    return left


def _addresses(host: str, port: int, deadline: float) -> list[tuple[int, Any]]:
    """Return families and addresses. A literal address needs no resolver, which takes no timeout."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return [(family, (host, port))]
    found: SimpleQueue[list[tuple[int, Any]] | OSError] = SimpleQueue()
    Thread(target=lambda: found.put(_resolve(host, port)), daemon=True).start()
    try:
        answer = found.get(timeout=max(0.0, deadline - time.monotonic()))
    except Empty:
        raise NotConnectedError(f"the name {host} was not resolved") from None
    if isinstance(answer, OSError):
        raise answer
    return answer


def _resolve(host: str, port: int) -> list[tuple[int, Any]] | OSError:
    """Return families and addresses, or the error, for another thread to raise."""
    try:  # given text instead of bytes, Python loads its tables for non-ASCII host names
        found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return error if isinstance(error, OSError) else OSError("not a host name")
    return [(entry[0], entry[4]) for entry in found]
