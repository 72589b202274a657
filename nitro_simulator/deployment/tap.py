"""A wire tap: forwards TCP connections and keeps a copy of every byte, to show what a proxy sees."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

from vsock_wire.errors import TransportError
from vsock_wire.net.address import TcpAddress
from vsock_wire.net.sockets import close_quietly, connect_socket, listen_socket

CONNECT_TIMEOUT_S = 5.0
CHUNK_BYTES = 65_536


class Tap:
    """Listens on its own port from construction to ``close``. Keeps everything in memory: for demonstrations."""

    def __init__(self, destination: TcpAddress) -> None:
        self._destination = destination
        self._listener = listen_socket(TcpAddress("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._captured = bytearray()
        self._sockets: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._listener.getsockname()[1])

    def captured(self) -> bytes:
        """Return every byte seen so far, over all connections and both directions."""
        with self._lock:
            return bytes(self._captured)

    def close(self) -> None:
        """Stop listening and end every connection."""
        close_quietly(self._listener)
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = connect_socket(self._destination, timeout_s=CONNECT_TIMEOUT_S)
        except TransportError:
            client.close()
            return
        server.settimeout(None)
        with client, server:
            with self._lock:
                self._sockets |= {client, server}
            backward = threading.Thread(target=self._copy, args=(server, client), daemon=True)
            backward.start()
            self._copy(client, server)
            backward.join()
            with self._lock:
                self._sockets -= {client, server}

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # one side has gone
            while data := source.recv(CHUNK_BYTES):
                with self._lock:
                    self._captured += data
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
