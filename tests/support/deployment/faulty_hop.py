"""A relay between two parts of a deployment that behaves like a broken link or a hostile host."""

from __future__ import annotations

import contextlib
import enum
import random
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Self

from vsock_wire.errors import TransportError
from vsock_wire.net.address import TcpAddress, UnixAddress
from vsock_wire.net.sockets import close_quietly, connect_socket, listen_socket

TIMEOUT_S = 10.0
CHUNK_BYTES = 65_536
DRIP_BYTES = 16
DRIP_PAUSE_S = 0.002
BEFORE_THE_END_BYTES = 100
"""How far before its end a response is cut, so that its last message is incomplete; TLS ends with a 24-byte alert."""
_LINGER_FOR_NONE = struct.pack("ii", 1, 0)
"""Source: socket(7), SO_LINGER."""


class Fault(enum.StrEnum):
    """What the relay does to a response, unless stated otherwise."""

    REFUSED = "refused"
    """Nobody listens."""
    RESET_BEFORE = "reset before"
    """It accepts a connection and resets it at once."""
    RESET_WITHIN = "reset within"
    STALLED = "stalled"
    """It reads the request and never responds."""
    GARBAGE = "garbage"
    TRUNCATED = "truncated"
    """It truncates the response and closes the connection in an orderly way."""
    DUPLICATE = "duplicate"
    DRIPPING = "dripping"
    WRONG = "wrong but valid"
    """Another server responds, which speaks the same protocol."""


class FaultyHop:
    """Relays connections from one address to another, unchanged until ``fault`` is set.

    Args:
        listen: the address that one part is given.
        target: the address of the other part.
        wrong: the address of the server that responds instead for Fault.WRONG.
    """

    def __init__(
        self, listen: UnixAddress | TcpAddress, target: UnixAddress | TcpAddress, wrong: UnixAddress | TcpAddress
    ) -> None:
        self.address = listen
        self.whole_bytes = 0
        """Size of the largest response on one connection before the first fault."""
        self._is_measuring = True
        self.hits = 0
        """Number of connections with the fault."""
        self._target = target
        self._wrong = wrong
        self._fault: Fault | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_listening()
        self._disconnect()

    def set_fault(self, fault: Fault | None) -> None:
        """Set the fault, and end every open connection so that none of them avoids it."""
        was, self._fault, self.hits = self._fault, fault, 0
        self._is_measuring = False
        if fault is Fault.REFUSED:
            self._stop_listening()
        elif was is Fault.REFUSED:
            self._listen()
        self._disconnect()

    def measure_again(self) -> None:
        """Measure the size of a whole response again, and end every open connection, some of which had several."""
        self.whole_bytes = 0
        self._disconnect()

    def _listen(self) -> None:
        self._listener = listen_socket(self.address)
        if isinstance(self.address, TcpAddress):
            self.address = TcpAddress(self.address.host, self._listener.getsockname()[1])
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _stop_listening(self) -> None:
        close_quietly(self._listener)
        if isinstance(self.address, UnixAddress):
            Path(self.address.path).unlink(missing_ok=True)

    def _disconnect(self) -> None:
        with self._lock:
            for sock in self._open:
                _end(sock, socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._serve, args=(client, self._fault), daemon=True).start()

    def _serve(self, client: socket.socket, fault: Fault | None) -> None:
        with self._lock:
            self._open.add(client)
            self.hits += fault is not None
        try:
            self._relay(client, fault)
        except (OSError, TransportError):
            pass  # which the other side must see as well
        finally:
            with self._lock:
                self._open.discard(client)
            client.close()

    def _relay(self, client: socket.socket, fault: Fault | None) -> None:
        match fault:
            case Fault.RESET_BEFORE:
                _reset_when_closed(client)
            case Fault.STALLED:
                while client.recv(CHUNK_BYTES):
                    pass
            case Fault.GARBAGE:
                client.recv(CHUNK_BYTES)
                client.sendall(random.Random("garbage").randbytes(300) + b"\0")  # noqa: S311 - the same ones each time
            case _:
                self._join(client, self._wrong if fault is Fault.WRONG else self._target, fault)

    def _join(self, client: socket.socket, target: UnixAddress | TcpAddress, fault: Fault | None) -> None:
        with connect_socket(target, timeout_s=TIMEOUT_S) as server:
            with self._lock:
                self._open.add(server)
            server.settimeout(None)
            upwards = threading.Thread(target=_copy, args=(client, server), daemon=True)
            upwards.start()
            try:
                self._answer(server, client, fault)
            finally:
                with self._lock:
                    self._open.discard(server)
                _end(server, socket.SHUT_RDWR)
                # A reset is only sent if nothing has been shut down for writing before.
                _end(client, socket.SHUT_RD if fault is Fault.RESET_WITHIN else socket.SHUT_RDWR)
                upwards.join()

    def _answer(self, server: socket.socket, client: socket.socket, fault: Fault | None) -> None:
        cut = self.whole_bytes - BEFORE_THE_END_BYTES
        sent = 0
        while data := server.recv(CHUNK_BYTES):
            if fault in (Fault.RESET_WITHIN, Fault.TRUNCATED) and sent + len(data) > cut:
                client.sendall(data[: max(0, cut - sent)])
                if fault is Fault.RESET_WITHIN:
                    _reset_when_closed(client)
                return
            if fault is Fault.DRIPPING:
                _drip(client, data)
            else:
                client.sendall(data * 2 if fault is Fault.DUPLICATE else data)
            sent += len(data)
            if self._is_measuring:
                self.whole_bytes = max(self.whole_bytes, sent)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK_BYTES):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def _drip(sock: socket.socket, data: bytes) -> None:
    for start in range(0, len(data), DRIP_BYTES):
        sock.sendall(data[start : start + DRIP_BYTES])
        time.sleep(DRIP_PAUSE_S)


def _end(sock: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):  # it has ended already
        sock.shutdown(how)


def _reset_when_closed(sock: socket.socket) -> None:
    """Make TCP send RST. A unix socket has no reset, and just ends."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_FOR_NONE)
