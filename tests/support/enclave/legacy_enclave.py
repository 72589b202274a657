"""A server that responds as kmstool_enclave in C does."""

from __future__ import annotations

import json
import select
import socket
from base64 import b64decode, b64encode
from dataclasses import dataclass, field

OK = b'{ "Status": "Ok" }\0'
STRAY = b'{ "Status": "Error" }\0'
CLOSING_S = 0.1
"""How long the server waits for a client to close before it sends the second reply."""


@dataclass
class LegacyEnclave:
    """Serves one client at a time with a backlog of 1, and sends a stray second reply after every success.

    Its KMS reverses the bytes, and its only operations are SetClient and Decrypt.

    Attributes:
        stray_replies: number of second replies to clients that were still connected.
        broken_pipes: number of replies to clients that had closed, each of which kills the C program with SIGPIPE.
    """

    listener: socket.socket
    connections: int = 0
    requests: list[dict[str, object]] = field(default_factory=list)
    stray_replies: int = 0
    broken_pipes: int = 0

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
                reply = self._answer(json.loads(frame))
                try:
                    sock.sendall(reply)
                    if b'"Message"' in reply and b'"Ok"' in reply:
                        self._send_stray(sock)
                except OSError:
                    self.broken_pipes += 1
                    return

    def _send_stray(self, sock: socket.socket) -> None:
        """Send the second reply, but first give the client time to close."""
        if select.select([sock], [], [], CLOSING_S)[0] and not sock.recv(1, socket.MSG_PEEK):
            raise BrokenPipeError
        self.stray_replies += 1  # before the client can end
        sock.sendall(STRAY)

    def _answer(self, request: dict[str, object]) -> bytes:
        self.requests.append(request)
        if request["Operation"] == "SetClient":
            return OK
        if request["Operation"] != "Decrypt":
            return b'{ "Status": "Error", "Message": "Operation not recognized" }\0'
        ciphertext = b64decode(str(request["Ciphertext"]))
        if ciphertext == b"refused":
            return b'{ "Status": "Error", "Message": "Could not decrypt ciphertext" }\0'
        message = b64encode(ciphertext[::-1]).decode()
        return f'{{ "Status": "Ok", "Message": "{message}" }}\0'.encode()
