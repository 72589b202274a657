"""A server that answers as kmstool_enclave in C does."""

from __future__ import annotations

import json
import socket
from base64 import b64decode, b64encode
from dataclasses import dataclass, field

OK = b'{ "Status": "Ok" }\0'
STRAY = b'{ "Status": "Error" }\0'


@dataclass
class LegacyEnclave:
    """Serves one client at a time with a backlog of 1, and sends a stray second reply after every success.

    Its KMS reverses the bytes.
    """

    listener: socket.socket
    connections: int = 0
    requests: list[dict[str, object]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            with sock:
                self._converse(sock)

    def _converse(self, sock: socket.socket) -> None:
        buffer = b""
        while data := sock.recv(8_192):
            buffer += data
            while b"\0" in buffer:
                frame, _, buffer = buffer.partition(b"\0")
                try:
                    sock.sendall(self._answer(json.loads(frame)))
                except OSError:
                    return

    def _answer(self, request: dict[str, object]) -> bytes:
        self.requests.append(request)
        if request["Operation"] == "SetClient":
            return OK
        ciphertext = b64decode(str(request["Ciphertext"]))
        if ciphertext == b"refused":
            return b'{ "Status": "Error", "Message": "Could not decrypt ciphertext" }\0'
        message = b64encode(ciphertext[::-1]).decode()
        return f'{{ "Status": "Ok", "Message": "{message}" }}\0'.encode() + STRAY
