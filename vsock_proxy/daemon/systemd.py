"""Talks to systemd: readiness, the watchdog, and sockets that systemd has opened.

Source: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3). Without systemd, nothing here has any effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from vsock_proxy.relay.loop import RelayLoop
from vsock_wire.net.address import Address, TcpAddress, UnixAddress, VsockAddress

FIRST_INHERITED_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START."""


class ServiceManager:
    """Tells the service manager, if there is one, the state of the process; delivery is not guaranteed.

    Its socket is open from the start, so that a full descriptor table keeps nothing from being told.
    """

    def __init__(self) -> None:
        path = os.environ.get("NOTIFY_SOCKET", "")
        self._name = "\0" + path[1:] if path.startswith("@") else path
        self._sock: socket.socket | None = None
        if path:
            with contextlib.suppress(OSError):
                self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def notify(self, state: str) -> None:
        """Tell a state such as ``READY=1``."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.sendto(state.encode(), self._name)

    def close(self) -> None:
        """Close the socket."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def watchdog_interval_s() -> float | None:
    """Return how often to send ``WATCHDOG=1``: twice per period that the service manager waits; None for never."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 2_000_000 if text.isascii() and text.isdigit() and int(text) > 0 else None


class Watchdog:
    """Tells the service manager, if it watches this process, that the loop goes round.

    It is fed at the end of a turn, so after every watcher and every callback of asyncio has returned. If one of them
    hangs, the service manager hears nothing, and restarts the process. A timer makes a turn come in time.

    Args:
        manager: hears it.
        loop: the loop.
    """

    def __init__(self, manager: ServiceManager, loop: RelayLoop) -> None:
        self._manager = manager
        self._loop = loop
        self._interval_s = watchdog_interval_s()
        self._due_s = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        if self._interval_s is not None:
            loop.at_end_of_turn(self._feed_if_due)
            self._feed(self._interval_s)

    def stop(self) -> None:
        """Feed it no more."""
        self._due_s = float("inf")
        if self._timer is not None:
            self._timer.cancel()

    def _feed_if_due(self) -> None:
        if self._loop.now_s >= self._due_s and self._interval_s is not None:
            self._feed(self._interval_s)

    def _feed(self, interval_s: float) -> None:
        self._manager.notify("WATCHDOG=1")
        self._due_s = self._loop.now_s + interval_s
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._due_s, _let_a_turn_come)


def _let_a_turn_come() -> None:
    """Do nothing: the loop has to wake up for this, and ends a turn."""


def inherited_sockets() -> dict[Address, socket.socket]:
    """Return the listening sockets that the service manager passed to this process, by address; works once.

    It closes sockets of other kinds. The caller closes those that it returns.
    """
    count = os.environ.pop("LISTEN_FDS", "")
    owner = os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if owner != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return {}
    found: dict[Address, socket.socket] = {}
    for descriptor in range(FIRST_INHERITED_DESCRIPTOR, FIRST_INHERITED_DESCRIPTOR + int(count)):
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
        if (address := _listening_address(sock)) is None:
            sock.close()
        else:
            found[address] = sock
    return found


def _listening_address(sock: socket.socket) -> Address | None:
    if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return None
    match sock.getsockname():
        case str(path):
            return UnixAddress(path)
        case (int(cid), int(port)):
            return VsockAddress(cid, port)
        case (str(host), int(port), *_):
            return TcpAddress(host, port)
        case _:
            return None
