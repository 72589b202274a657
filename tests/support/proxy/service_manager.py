"""Stand in for systemd for a program in this process: receive its state, and pass sockets to it."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest


class ServiceManager:
    """Receives the program's notifications; ``hand_over`` passes it one socket, as socket activation does.

    Args:
        folder: the folder for the notification socket.
        monkeypatch: sets the environment.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._stack = ExitStack()
        self._sock = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self._sock.bind(str(folder / "notify"))
        self._sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def heard(self) -> list[str]:
        """Return the notifications since the last call."""
        heard = []
        try:
            while True:
                heard.append(self._sock.recv(100).decode())
        except BlockingIOError:
            return heard

    def hand_over(self, sock: socket.socket) -> int:
        """Pass on ``sock``, and return its number; the receiver closes it."""
        number = sock.detach()
        self._monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        self._monkeypatch.setenv("LISTEN_FDS", "1")
        self._monkeypatch.setattr("vsock_proxy.daemon.systemd.FIRST_INHERITED_DESCRIPTOR", number)
        return number


def listening_unix_socket(path: Path) -> socket.socket:
    """Return a socket that listens at ``path``."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


def is_open(descriptor: int) -> bool:
    """Return whether a file descriptor of this process is open."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
