"""Listening sockets: what they accept, how they behave without descriptors, and how the log names peers."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.proxy.plain_loop import run_on, until
from vsock_proxy.listener import ACCEPTS_PER_TURN, PAUSE_S, Acceptor, Listener, Reserve, peer_name
from vsock_proxy.relay.loop import RelayLoop
from vsock_wire.net.address import Address, TcpAddress, UnixAddress, VsockAddress


class Scene:
    """A listener watched by a loop, the clients that it hands over, and their peers; all closed at the end."""

    def __init__(self, loop: RelayLoop, listener: Listener, stack: ExitStack) -> None:
        self.loop = loop
        self.listener = listener
        self.reserve = Reserve()
        self.admitted: list[tuple[socket.socket, str]] = []
        self.refused = 0
        self._stack = stack
        self.acceptor = Acceptor(
            loop,
            listener,
            self.reserve,
            admit=self._admit,
            refused=self._refuse,
            call_later=asyncio.get_running_loop().call_later,
        )
        stack.callback(self.reserve.close)
        stack.callback(self.acceptor.close)
        self.acceptor.start()

    def _admit(self, number: int, peer: str) -> None:
        self.admitted.append((self._stack.enter_context(socket.socket(fileno=number)), peer))

    def _refuse(self) -> None:
        self.refused += 1

    def connect(self, count: int = 1) -> list[socket.socket]:
        address = self.listener.sock.getsockname()
        clients = [self._stack.enter_context(socket.socket(self.listener.sock.family)) for _ in range(count)]
        for client in clients:
            client.settimeout(10)
            client.connect(address)
            client.setblocking(False)
        return clients


Check = Callable[[Scene], Coroutine[None, None, None]]


def run(check: Check, address: Address) -> None:
    async def main(loop: RelayLoop) -> None:
        with ExitStack() as stack:
            await check(Scene(loop, Listener(address), stack))

    run_on(main)


class FailingSocket:
    """A listening socket that fails its first calls of ``accept`` with these errors; 0 means success."""

    def __init__(self, sock: socket.socket, *errors: int) -> None:
        self._sock = sock
        self._errors = list(errors)

    def _accept(self) -> tuple[int, object]:
        self._fail()
        number, name = self._sock._accept()  # type: ignore[attr-defined] # as the listener does
        return int(number), name

    def accept(self) -> tuple[socket.socket, object]:
        self._fail()
        return self._sock.accept()

    def _fail(self) -> None:
        number = self._errors.pop(0) if self._errors else 0
        if number:
            raise OSError(number, os.strerror(number))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def fail(scene: Scene, *errors: int) -> None:
    scene.listener.sock = FailingSocket(scene.listener.sock, *errors)  # type: ignore[assignment]


def test_waiting_clients_are_accepted_ready_for_the_loop(short_dir: Path) -> None:
    async def check(scene: Scene) -> None:
        scene.connect(3)
        await until(lambda: len(scene.admitted) == 3)
        assert [peer for _, peer in scene.admitted] == [str(scene.listener.address)] * 3
        assert [os.get_blocking(sock.fileno()) for sock, _ in scene.admitted] == [False] * 3

    run(check, UnixAddress(str(short_dir / "p")))


def test_others_get_their_turn_between_clients(short_dir: Path) -> None:
    async def check(scene: Scene) -> None:
        scene.connect(ACCEPTS_PER_TURN + 5)
        scene.loop.events_in_turn = 1_000
        scene.acceptor.on_event(0)
        assert len(scene.admitted) == ACCEPTS_PER_TURN
        scene.loop.events_in_turn = 1
        scene.acceptor.on_event(0)
        assert len(scene.admitted) == ACCEPTS_PER_TURN + 1
        await until(lambda: len(scene.admitted) == ACCEPTS_PER_TURN + 5)

    run(check, UnixAddress(str(short_dir / "p")))


def test_tcp_client_is_named_and_the_port_that_the_kernel_chose_is_reported() -> None:
    async def check(scene: Scene) -> None:
        (client,) = scene.connect()
        await until(lambda: scene.admitted)
        ((_, peer),) = scene.admitted
        assert peer == "tcp://{}:{}".format(*client.getsockname())
        assert scene.listener.address == TcpAddress(*scene.listener.sock.getsockname())

    run(check, TcpAddress("127.0.0.1", 0))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_client_is_refused_when_no_descriptor_is_left(short_dir: Path, number: int) -> None:
    async def check(scene: Scene) -> None:
        fail(scene, number)
        refused, served = scene.connect(2)
        await until(lambda: scene.admitted)
        assert scene.refused == 1
        assert refused.recv(1) == b""
        scene.admitted[0][0].send(b"x")
        assert served.recv(1) == b"x"

    run(check, UnixAddress(str(short_dir / "p")))


def test_every_client_can_be_refused_because_the_reserve_comes_back(short_dir: Path) -> None:
    async def check(scene: Scene) -> None:
        fail(scene, *[errno.EMFILE, 0] * 3)
        clients = scene.connect(3)
        await until(lambda: scene.refused == 3)
        assert [client.recv(1) for client in clients] == [b""] * 3

    run(check, UnixAddress(str(short_dir / "p")))


def test_without_a_reserve_the_listener_pauses_and_then_takes_it_back(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While neither a descriptor nor the reserve is there, the loop must not go round and round."""

    async def check(scene: Scene) -> None:
        scene.reserve.close()
        calls = 0

        def open_nothing(*_: object) -> int:
            nonlocal calls
            calls += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", open_nothing)
            fail(scene, *[errno.EMFILE] * 1_000)
            (client,) = scene.connect()
            await asyncio.sleep(4 * PAUSE_S)
            assert 1 <= calls <= 10
            with pytest.raises(BlockingIOError):
                client.recv(1)
        scene.listener.sock._errors[:] = [errno.EMFILE]  # type: ignore[attr-defined] # the reserve can be opened again
        await until(lambda: scene.refused == 1)
        assert client.recv(1) == b""
        scene.connect()
        await until(lambda: scene.admitted)

    run(check, UnixAddress(str(short_dir / "p")))


def test_pause_does_not_outlive_the_listener(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(scene: Scene) -> None:
        monkeypatch.setattr(Reserve, "refuse_one", lambda _reserve, _sock: False)
        fail(scene, errno.EMFILE)
        scene.connect()
        await asyncio.sleep(PAUSE_S / 4)
        scene.acceptor.close()
        await asyncio.sleep(2 * PAUSE_S)

    run(check, UnixAddress(str(short_dir / "p")))


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EAGAIN])
def test_client_that_has_gone_is_not_an_error(short_dir: Path, number: int) -> None:
    async def check(scene: Scene) -> None:
        fail(scene, number)
        scene.connect()
        await until(lambda: scene.admitted)
        assert scene.refused == 0

    run(check, UnixAddress(str(short_dir / "p")))


def test_unknown_error_is_logged(short_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check(scene: Scene) -> None:
        fail(scene, errno.EINVAL)
        scene.connect()
        await until(lambda: scene.admitted)

    run(check, UnixAddress(str(short_dir / "p")))
    assert "internal error: OSError at " in caplog.text


def test_file_that_another_process_has_put_in_its_place_stays(short_dir: Path) -> None:
    path = short_dir / "p"
    listener = Listener(UnixAddress(str(path)))
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        listener.close()
        assert path.exists()


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
