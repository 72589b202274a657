"""A client of the enclave server that sends arbitrary bytes."""

from __future__ import annotations

import json
import socket
from typing import Any, Self


class RawClient:
    """A socket that sends bytes as they are and reads replies up to their NUL."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30.0)
        try:
            self.sock.connect(path)
        except OSError:
            self.sock.close()
            raise
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def ask(self, data: bytes) -> dict[str, Any]:
        """Send ``data`` and a NUL, and return the only reply."""
        self.sock.sendall(data + b"\0")
        return self.read()

    def read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = self.sock.recv(65_536)
            assert data, "the connection ended before a reply"
            self._buffer += data
        frame, _, self._buffer = self._buffer.partition(b"\0")
        reply = json.loads(frame)
        assert isinstance(reply, dict)
        return reply

    def is_silent(self) -> bool:
        """Return whether no more bytes have arrived."""
        self.sock.setblocking(False)
        try:
            return not self._buffer and not self.sock.recv(1)
        except BlockingIOError:
            return not self._buffer
        finally:
            self.sock.settimeout(30.0)
