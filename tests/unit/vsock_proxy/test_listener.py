"""Listening sockets: what they accept, how they behave without descriptors, and how the log names peers."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from vsock_proxy.listener import ACCEPTS_PER_EVENT, Listener, peer_name
from vsock_wire.net.address import Address, TcpAddress, UnixAddress, VsockAddress


class Scene:
    """A listener, and clients that are closed at the end."""

    def __init__(self, listener: Listener, stack: ExitStack) -> None:
        self.listener = listener
        self._stack = stack

    def connect(self, count: int = 1) -> list[socket.socket]:
        address = self.listener.sock.getsockname()
        clients = [self._stack.enter_context(socket.socket(self.listener.sock.family)) for _ in range(count)]
        for client in clients:
            client.settimeout(10)
            client.connect(address)
        return clients

    def accept(self) -> list[tuple[socket.socket | None, str]]:
        accepted = list(self.listener.accept())
        for sock, _ in accepted:
            if sock is not None:
                self._stack.enter_context(sock)
        return accepted


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def scene(short_dir: Path, stack: ExitStack) -> Scene:
    listener = Listener(UnixAddress(str(short_dir / "p")))
    stack.callback(listener.close)
    return Scene(listener, stack)


@pytest.fixture
def tcp_scene(stack: ExitStack) -> Scene:
    listener = Listener(TcpAddress("127.0.0.1", 0))
    stack.callback(listener.close)
    return Scene(listener, stack)


class FailingSocket:
    """A listening socket that fails its first calls of ``accept`` with these errors; 0 means success."""

    def __init__(self, sock: socket.socket, *errors: int) -> None:
        self._sock = sock
        self._errors = list(errors)

    def accept(self) -> tuple[socket.socket, object]:
        number = self._errors.pop(0) if self._errors else 0
        if number:
            raise OSError(number, os.strerror(number))
        return self._sock.accept()

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def fail(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(*errors: int) -> None:
        monkeypatch.setattr(scene.listener, "sock", FailingSocket(scene.listener.sock, *errors))

    return install


def test_waiting_clients_are_accepted_ready_for_the_loop(scene: Scene) -> None:
    scene.connect(3)
    accepted = scene.accept()
    assert [peer for _, peer in accepted] == [str(scene.listener.address)] * 3
    assert [sock is not None and sock.getblocking() for sock, _ in accepted] == [False] * 3
    assert scene.accept() == []


def test_others_get_their_turn_after_a_batch_of_clients(scene: Scene) -> None:
    scene.connect(ACCEPTS_PER_EVENT + 5)
    assert len(scene.accept()) == ACCEPTS_PER_EVENT
    assert len(scene.accept()) == 5


def test_tcp_client_is_tuned_and_the_port_that_the_kernel_chose_is_reported(tcp_scene: Scene) -> None:
    (client,) = tcp_scene.connect()
    ((accepted, peer),) = tcp_scene.accept()
    assert accepted is not None
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert peer == "tcp://{}:{}".format(*client.getsockname())
    assert tcp_scene.listener.address == TcpAddress(*tcp_scene.listener.sock.getsockname())


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_client_is_refused_when_no_descriptor_is_left(scene: Scene, fail: Callable[..., None], number: int) -> None:
    refused, served = scene.connect(2)
    fail(number)
    first, second = scene.accept()
    assert first == (None, "a client")
    assert refused.recv(1) == b""
    assert second[0] is not None
    second[0].send(b"x")
    assert served.recv(1) == b"x"


def test_every_client_can_be_refused_because_the_reserve_comes_back(scene: Scene, fail: Callable[..., None]) -> None:
    clients = scene.connect(3)
    fail(*[errno.EMFILE, 0] * 3)
    assert scene.accept() == [(None, "a client")] * 3
    assert [client.recv(1) for client in clients] == [b""] * 3


def test_error_is_passed_on_without_a_reserve(
    scene: Scene, fail: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.connect()
    reserve = scene.listener._reserve
    monkeypatch.setattr(scene.listener, "_reserve", None)
    fail(errno.EMFILE)
    with pytest.raises(OSError, match="Too many open files"):
        scene.accept()
    monkeypatch.setattr(scene.listener, "_reserve", reserve)


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EAGAIN])
def test_client_that_has_gone_is_not_an_error(scene: Scene, fail: Callable[..., None], number: int) -> None:
    fail(number)
    assert scene.accept() == []


def test_unknown_error_is_passed_on(scene: Scene, fail: Callable[..., None]) -> None:
    fail(errno.EINVAL)
    with pytest.raises(OSError, match="Invalid argument"):
        scene.accept()


def test_closing_frees_every_descriptor_and_removes_the_socket_file(short_dir: Path) -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    listener = Listener(UnixAddress(str(short_dir / "p")))
    assert (short_dir / "p").exists()
    listener.close()
    assert not (short_dir / "p").exists()
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_file_of_an_inherited_socket_stays(short_dir: Path) -> None:
    path = short_dir / "p"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    listener = Listener(UnixAddress(str(path)), sock)
    listener.close()
    assert path.exists()
    assert sock.fileno() == -1


@pytest.mark.parametrize(
    ("listen", "name", "text"),
    [
        (VsockAddress(3, 8000), (16, 1234567890), "cid 16 port 1234567890"),
        (TcpAddress("127.0.0.1", 1), ("192.0.2.1", 5), "tcp://192.0.2.1:5"),
        (TcpAddress("::", 1), ("2001:db8::1", 5, 0, 0), "tcp://[2001:db8::1]:5"),
        (UnixAddress("/p"), "", "unix:/p"),
        (UnixAddress("/p"), None, "unix:/p"),
    ],
)
def test_peer_is_named_by_its_kind_of_address(listen: Address, name: object, text: str) -> None:
    assert peer_name(listen, name) == text
