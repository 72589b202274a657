"""Serves a simulated NSM on a unix socket, as a replacement for the ioctl of /dev/nsm.

A length of 4 bytes, big-endian, precedes each CBOR request and response.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from pathlib import Path
from typing import Self

from nitro_simulator.nsm.service import MAX_REQUEST_BYTES, SimulatedNsm
from vsock_wire.net.address import UnixAddress
from vsock_wire.net.sockets import close_quietly, listen_socket

LENGTH_BYTES = 4
CHUNK_BYTES = 65_536
ACCEPT_RETRY_S = 0.1
"""Pause after a failed accept, such as without free file descriptors, so that the server does not spin."""

_log = logging.getLogger(__name__)


class NsmServer:
    """Serves any number of clients at once, one thread each, until it is closed.

    Args:
        nsm: answers the requests.
        address: the socket's path; mode 0600.
    """

    def __init__(self, nsm: SimulatedNsm, address: UnixAddress) -> None:
        self.address = address
        self._nsm = nsm
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._clients: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start listening, and return; works once.

        Raises:
            TransportError: the socket cannot be bound.
        """
        if self._listener is not None:
            raise ValueError("a server starts once")
        self._listener = listen_socket(self.address)
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,), name="nsm-accept", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Disconnect every client, remove the socket, and wait for all threads; may be called again."""
        self._closing.set()
        if self._listener is None or self._acceptor is None:
            return
        close_quietly(self._listener)
        self._acceptor.join()
        with self._lock:
            clients = dict(self._clients)
        for sock in clients:
            _disconnect(sock)
        for thread in clients.values():
            thread.join()
        Path(self.address.path).unlink(missing_ok=True)

    def _accept(self, listener: socket.socket) -> None:
        while not self._closing.is_set():
            try:
                sock, _ = listener.accept()
            except OSError as error:
                if not self._closing.wait(ACCEPT_RETRY_S):
                    _log.warning("accept: %s", error.strerror)
                continue
            self._start_client(sock)

    def _start_client(self, sock: socket.socket) -> None:
        thread = threading.Thread(target=self._serve, args=(sock,), name="nsm-client", daemon=True)
        with self._lock:
            self._clients[sock] = thread
            try:
                thread.start()
            except RuntimeError as error:  # no more threads: drop this client, keep the others
                _log.warning("client: %s", error)
                del self._clients[sock]
                sock.close()

    def _serve(self, sock: socket.socket) -> None:
        try:
            while (request := _receive_request(sock)) is not None:
                answer = self._nsm.answer(request)
                sock.sendall(len(answer).to_bytes(LENGTH_BYTES, "big") + answer)
        except OSError as error:
            _log.debug("client: %s", error.strerror)
        finally:
            with self._lock:
                del self._clients[sock]
            sock.close()


def _receive_request(sock: socket.socket) -> bytes | None:
    """Return one request, or None at end of stream.

    If the request is too long, it keeps only as much as the NSM needs to refuse it; it reads and drops the rest, so
    that the stream stays in sync and no length can fill the memory.
    """
    header = _receive(sock, LENGTH_BYTES)
    if header is None:
        return None
    length = int.from_bytes(header, "big")
    kept = min(length, MAX_REQUEST_BYTES + 1)
    request = _receive(sock, kept)
    return request if request is not None and _drop(sock, length - kept) else None


def _receive(sock: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            return None
        data += chunk
    return bytes(data)


def _drop(sock: socket.socket, size: int) -> bool:
    while size > 0:
        chunk = sock.recv(min(size, CHUNK_BYTES))
        if not chunk:
            return False
        size -= len(chunk)
    return True


def _disconnect(sock: socket.socket) -> None:
    """Wake the client's thread, which then closes the socket itself."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
