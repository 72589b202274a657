"""Listening sockets that never get stuck: when descriptors run out, they refuse clients rather than let them wait."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from vsock_proxy.dial.connect import tune_tcp
from vsock_wire.net.address import Address, TcpAddress, UnixAddress, VsockAddress
from vsock_wire.net.sockets import bound_address, listen_socket

BACKLOG = 4_096
"""Connections that the kernel queues until accepted; it caps this at net.core.somaxconn (4,096 since Linux 5.4)."""
ACCEPTS_PER_EVENT = 64
"""Connections accepted from one listener before the event loop serves other sockets."""

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_GONE = (errno.EAGAIN, errno.ECONNABORTED, errno.EINTR)


class Listener:
    """A listening socket that keeps one descriptor in reserve, to refuse clients when no other is free.

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
        self._owns_path = inherited is None
        self.address = bound_address(self.sock, address)
        self._reserve = _open_reserve()

    def close(self) -> None:
        """Stop listening, and remove the file of a unix socket if this listener created it."""
        self.sock.close()
        if self._reserve is not None:
            os.close(self._reserve)
        if self._owns_path and isinstance(self.address, UnixAddress):
            Path(self.address.path).unlink(missing_ok=True)

    def accept(self) -> Iterator[tuple[socket.socket | None, str]]:
        """Yield socket and peer name of each waiting connection; None instead of the socket if it had to be refused."""
        for _ in range(ACCEPTS_PER_EVENT):
            try:
                client, name = self.sock.accept()
            except OSError as error:
                if error.errno in _GONE:
                    return
                if error.errno not in _EXHAUSTED or not self._refuse_one():
                    raise
                yield None, "a client"
                continue
            client.setblocking(False)
            if isinstance(self.address, TcpAddress):
                tune_tcp(client)
            yield client, peer_name(self.address, name)

    def _refuse_one(self) -> bool:
        """Accept with the reserved descriptor and close at once; return whether that worked."""
        if self._reserve is None:
            return False
        os.close(self._reserve)
        try:
            self.sock.accept()[0].close()
        except OSError:
            return False
        finally:
            self._reserve = _open_reserve()
        return True


def peer_name(listen: Address, name: object) -> str:
    """Return the log's name for a peer, from the address that ``accept`` returned."""
    match listen, name:
        case VsockAddress(), (int(cid), int(port)):
            return f"cid {cid} port {port}"
        case TcpAddress(), (str(host), int(port), *_):
            return str(TcpAddress(host, port))
        case _:
            return str(listen)


def _open_reserve() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
