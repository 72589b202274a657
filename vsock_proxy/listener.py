"""Listening sockets that never get stuck: when descriptors run out, they refuse clients rather than let them wait.

How it works. One descriptor is kept in reserve for all listeners. When ``accept`` finds none free, the reserve is
closed, the client is accepted in its place and closed at once, and the reserve is taken back. If something else has
taken the number meanwhile, there is no reserve for a while: then the listener pauses instead of finding the same client
again and again, and the reserve is taken back as soon as a descriptor is free.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections.abc import Callable
from pathlib import Path

from vsock_proxy.relay.loop import RelayLoop
from vsock_wire.net.address import Address, TcpAddress, UnixAddress, VsockAddress
from vsock_wire.net.sockets import bound_address, listen_socket

BACKLOG = 4_096
"""Connections that the kernel queues until accepted; it caps this at net.core.somaxconn (4,096 since Linux 5.4)."""
ACCEPTS_PER_TURN = 64
"""Most connections accepted from one listener in a turn. A turn with few other events takes one: asking for a second
costs a system call that finds nobody, and the next turn comes at once."""
PAUSE_S = 0.05
"""How long a listener pauses when there is neither a descriptor nor a reserve."""

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NOBODY = (errno.EAGAIN, errno.EINTR)
_LEFT = (errno.ECONNABORTED, errno.EPROTO, errno.EPERM)
"""A client that has left while it waited, or that the firewall forbids. Source: accept(2)."""


class Reserve:
    """One descriptor, to refuse clients when no other is free; taken back whenever it has been lost."""

    def __init__(self) -> None:
        self._number: int | None = None
        self.take_back()

    def take_back(self) -> bool:
        """Return whether there is a reserve, after trying to open one if there is none."""
        if self._number is None:
            with contextlib.suppress(OSError):
                self._number = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return self._number is not None

    def refuse_one(self, sock: socket.socket) -> bool:
        """Accept a client with the reserve's number, and close it at once; return whether that worked."""
        if not self.take_back():
            return False
        self.close()
        try:
            sock.accept()[0].close()
        except OSError:
            return False
        finally:
            self.take_back()
        return True

    def close(self) -> None:
        """Let go of the reserve."""
        if self._number is not None:
            os.close(self._number)
            self._number = None


class Listener:
    """A listening socket.

    Args:
        address: where to listen.
        inherited: a socket that already listens there, such as systemd's; ``close`` then leaves a unix socket's file in
            place.

    Raises:
        TransportError: the address cannot be bound.
    """

    def __init__(self, address: Address, inherited: socket.socket | None = None) -> None:
        self.sock = inherited or listen_socket(address, backlog=BACKLOG)
        self.sock.setblocking(False)
        self.is_inherited = inherited is not None
        self.address = bound_address(self.sock, address)
        self._fixed_name = str(self.address) if isinstance(self.address, UnixAddress) else ""
        self._file = None if self.is_inherited else _file_of(self.address)

    def close(self) -> None:
        """Stop listening, and remove the file of a unix socket if it is still the one that this listener created."""
        if self._file is not None and self._file == _file_of(self.address) and isinstance(self.address, UnixAddress):
            Path(self.address.path).unlink(missing_ok=True)
        self.sock.close()

    def accept(self) -> tuple[int, str] | None:
        """Return the descriptor of the next client, non-blocking, and its name; None if nobody waits.

        Raises:
            OSError: no descriptor or no memory is free.
        """
        while True:
            try:
                number, name = self.sock._accept()  # type: ignore[attr-defined] # a bare descriptor: an object is slow
            except OSError as error:
                if error.errno in _LEFT:
                    continue
                if error.errno in _NOBODY:
                    return None
                raise
            os.set_blocking(number, False)
            return number, self._fixed_name or peer_name(self.address, name)


class Acceptor:
    """Watches a Listener, and hands over its clients.

    Args:
        loop: calls it when clients wait.
        listener: where they wait; closed by ``close``.
        reserve: shared by all listeners.
        admit: takes a client: its descriptor and name.
        refused: called for each client that is refused because no descriptor is free.
        call_later: runs a function after some seconds.
    """

    def __init__(
        self,
        loop: RelayLoop,
        listener: Listener,
        reserve: Reserve,
        *,
        admit: Callable[[int, str], None],
        refused: Callable[[], None],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self.listener = listener
        self._loop = loop
        self._reserve = reserve
        self._admit = admit
        self._refused = refused
        self._call_later = call_later
        self._is_closed = False

    def start(self) -> None:
        """Accept from now on."""
        if not self._is_closed:
            self._loop.watch(self.listener.sock.fileno(), self, select.EPOLLIN | select.EPOLLEXCLUSIVE)

    def on_event(self, _mask: int) -> None:
        """See Watcher."""
        self.accept(min(ACCEPTS_PER_TURN, 1 + self._loop.events_in_turn // 4))

    def on_bug(self) -> None:
        """See Watcher: one client has failed, and the others must not."""

    def accept(self, most: int) -> None:
        """Hand over the clients that wait, but not more than ``most``."""
        for _ in range(most):
            try:
                arrived = self.listener.accept()
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                if not self._reserve.refuse_one(self.listener.sock):
                    self._pause()
                    return
                self._refused()
                continue
            if arrived is None:
                return
            self._admit(*arrived)

    def close(self) -> None:
        """Stop accepting and listening."""
        self._is_closed = True
        self._loop.unwatch(self.listener.sock.fileno())
        self.listener.close()

    def _pause(self) -> None:
        self._loop.unwatch(self.listener.sock.fileno())
        self._call_later(PAUSE_S, self.start)
        self._loop.return_soon()


def peer_name(listen: Address, name: object) -> str:
    """Return the log's name for a peer, from the address that ``accept`` returned."""
    match listen, name:
        case VsockAddress(), (int(cid), int(port)):
            return f"cid {cid} port {port}"
        case TcpAddress(), (str(host), int(port), *_):
            return str(TcpAddress(host, port))
        case _:
            return str(listen)


def _file_of(address: Address) -> tuple[int, int] | None:
    if not isinstance(address, UnixAddress):
        return None
    try:
        status = Path(address.path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
