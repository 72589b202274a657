"""Enclaves that respond as a test scripts them: like ours, like kmstool in C, or like neither."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from vsock_wire.net.address import UnixAddress
from vsock_wire.net.sockets import close_quietly, listen_socket
from vsock_wire.protocol.frames import FrameDecoder

Message = dict[str, Any]


class Peer:
    """One accepted connection, with frames as the C programs write them.

    Attributes:
        last_id: the Id of the request received last.
        repeats_ids: whether replies get that Id; kmstool in C sends none.
    """

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self.repeats_ids = True
        self._decoder = FrameDecoder()
        self.last_id: str | None = None

    def receive(self) -> Message | None:
        """Return the next request without its Id, or None at the end."""
        message = self.receive_with_id()
        if message is not None:
            self.last_id = message.pop("Id", None)
        return message

    def receive_with_id(self) -> Message | None:
        while (frame := self._decoder.next_frame()) is None:
            data = self.sock.recv(65_536)
            if not data:
                return None
            self._decoder.feed(data)
        message: Message = json.loads(frame)
        return message

    def send(self, *messages: Message) -> None:
        """Send replies. Those without an Id get that of the last request, if this peer repeats Ids."""
        more = {"Id": self.last_id} if self.repeats_ids and self.last_id is not None else {}
        self.send_bytes(b"".join(json.dumps({**more, **message}).encode() + b"\0" for message in messages))

    def send_bytes(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(data)


class ScriptedEnclave:
    """Serves connections one at a time, as kmstool in C does, with a function that the test supplies.

    Args:
        folder: the folder of its socket.
        converse: called with each connection, which is closed afterwards.
        backlog: backlog of the listening socket; kmstool in C has 1.
    """

    def __init__(self, folder: Path, converse: Callable[[Peer], None], *, backlog: int = 1) -> None:
        self.address = UnixAddress(str(folder / "enclave"))
        self.connections = 0
        self._converse = converse
        self._listener = listen_socket(self.address, backlog=backlog)
        self._thread = threading.Thread(target=self._serve)
        self._current: socket.socket | None = None
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close every connection and stop listening."""
        self._is_over.set()
        close_quietly(self._listener)
        if (current := self._current) is not None:
            with contextlib.suppress(OSError):
                current.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _serve(self) -> None:
        while not self._is_over.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._current = sock
            with sock, contextlib.suppress(OSError):
                self._converse(Peer(sock, self.connections))
            self._current = None


class Conversation:
    """Answers SetClient and Decrypt, and records the requests."""

    def __init__(self, *, is_c: bool) -> None:
        self.requests: list[tuple[int, Message]] = []
        self.plaintexts: dict[str, str] = {"AQID": "SGVsbG8sIEtNUyE="}
        self._is_c = is_c

    def __call__(self, peer: Peer) -> None:
        is_client_set = False
        peer.repeats_ids = not self._is_c
        while (request := peer.receive()) is not None:
            self.requests.append((peer.number, request))
            request = {**request, "Id": peer.last_id}
            operation = request["Operation"]
            if operation == "SetClient":
                is_client_set = True
                peer.send(
                    {"Status": "Ok"}
                    if self._is_c
                    else {"Status": "Ok", "Protocol": 2, "Operations": [], "Delivery": "reply"}
                )
            elif operation == "Decrypt" and is_client_set:
                self._decrypt(peer, request)
            elif operation == "Describe" and not self._is_c:
                peer.send({"Status": "Ok", "Protocol": 2, "Delivery": "reply"})
            else:
                peer.send({"Status": "Error", "Message": "Operation not recognized"})

    @property
    def operations(self) -> list[tuple[int, str]]:
        return [(number, request["Operation"]) for number, request in self.requests]

    @property
    def set_client(self) -> Message:
        """The first SetClient."""
        return next(request for _, request in self.requests if request["Operation"] == "SetClient")

    def _decrypt(self, peer: Peer, request: Message) -> None:
        peer.last_id = request["Id"]
        plaintext = self.plaintexts.get(request["Ciphertext"])
        if plaintext is None:
            peer.send({"Status": "Error", "Message": "Could not decrypt ciphertext"})
        elif self._is_c:  # both in one write, which is the worst case: the stray reply can come at any time
            peer.send({"Status": "Ok", "Message": plaintext}, {"Status": "Error"})
        else:
            fields = {"Message": plaintext, "KeyId": "key-arn", "EncryptionAlgorithm": "SYMMETRIC"}
            peer.send({"Status": "Ok", **fields})
