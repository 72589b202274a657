"""A MessageServer in a thread, and its clients."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Callable
from typing import Any, Self

from vsock_wire.net.address import Address
from vsock_wire.net.sockets import bound_address, connect_socket, listen_socket
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.rpc.connection import MessageConnection
from vsock_wire.rpc.jobs import Job
from vsock_wire.rpc.server import Limits, MessageServer

PROGRAM = "the-server"
TIMEOUT_S = 10.0
"""Passing tests never wait this long."""

Answer = Callable[[JsonObject], JsonObject]


class StoppableListener(socket.socket):
    """A listener whose ``accept`` raises SystemExit after ``stop``, as the handler of SIGTERM does."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(fileno=listener.detach())
        self._wake, self._sleeper = socket.socketpair()
        self.errors: list[OSError] = []
        self.is_closed = threading.Event()
        self._is_stopped = False

    def accept(self) -> tuple[socket.socket, Any]:
        ready, _, _ = select.select([self, self._sleeper], [], [])
        if self._sleeper in ready:
            raise SystemExit(0)
        if self.errors:
            raise self.errors.pop()
        return super().accept()

    def stop(self) -> None:
        if not self._is_stopped:
            self._is_stopped = True
            self._wake.send(b"x")

    def close(self) -> None:
        super().close()
        self.is_closed.set()
        self._wake.close()
        self._sleeper.close()


class Conversation:
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def take(self, frame: bytes) -> Job:
        request = json.loads(frame)
        return Job(lambda: self._answer(request), is_independent="Id" in request)


class RunningServer:
    """A MessageServer in a thread."""

    def __init__(self, address: Address, answer: Answer, limits: Limits) -> None:
        listener = listen_socket(address)
        self.address = bound_address(listener, address)
        self.listener = StoppableListener(listener)
        self.answer = answer
        self.ended_with: BaseException | None = None
        self._server = MessageServer(PROGRAM, self.listener, lambda: Conversation(self.answer), limits)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def connect(self) -> Client:
        return Client(connect_socket(self.address, timeout_s=TIMEOUT_S))

    def stop(self) -> None:
        self.listener.stop()
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()
        assert isinstance(self.ended_with, SystemExit)

    def begin_to_stop(self) -> None:
        self.listener.stop()
        assert self.listener.is_closed.wait(TIMEOUT_S)

    @property
    def is_serving(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._server.serve()
        except BaseException as error:  # noqa: BLE001 - kept for the test
            self.ended_with = error


class Client:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.connection = MessageConnection(sock, "the server")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def send(self, **message: object) -> None:
        self.connection.send(message, timeout_s=TIMEOUT_S)

    def receive(self) -> JsonObject | None:
        frame = self.connection.receive(idle_timeout_s=TIMEOUT_S, message_timeout_s=TIMEOUT_S)
        if frame is None:
            return None
        message: JsonObject = json.loads(frame)
        return message

    def ask(self, **message: object) -> JsonObject | None:
        self.send(**message)
        return self.receive()


StartServer = Callable[..., RunningServer]


def echo(request: JsonObject) -> JsonObject:
    return {"Status": "Ok", **request}
