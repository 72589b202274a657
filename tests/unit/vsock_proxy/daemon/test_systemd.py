"""What the service manager passes to a service, and what the service tells it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.proxy.service_manager import ServiceManager as Manager
from tests.support.proxy.service_manager import is_open, listening_unix_socket
from vsock_proxy.daemon.systemd import ServiceManager, inherited_sockets, watchdog_interval_s
from vsock_wire.net.address import TcpAddress, UnixAddress


@pytest.fixture
def manager(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    with Manager(short_dir, monkeypatch) as manager:
        yield manager


@pytest.mark.parametrize(
    ("environment", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_is_fed_twice_in_its_time_and_only_by_the_process_it_watches(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], interval_s: float | None
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert watchdog_interval_s() == interval_s


def test_service_manager_hears_each_state(manager: Manager) -> None:
    told = ServiceManager()
    told.notify("READY=1")
    told.notify("STOPPING=1")
    told.close()
    assert manager.heard() == ["READY=1", "STOPPING=1"]


def test_service_manager_that_is_gone_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (None, "/nowhere/at/all"):
        if name is None:
            monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
        else:
            monkeypatch.setenv("NOTIFY_SOCKET", name)
        told = ServiceManager()
        told.notify("READY=1")
        told.close()


def test_sockets_meant_for_another_process_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert inherited_sockets() == {}
    assert "LISTEN_FDS" not in os.environ


def test_listening_unix_socket_is_inherited_once_and_not_by_children(manager: Manager, short_dir: Path) -> None:
    number = manager.hand_over(listening_unix_socket(short_dir / "p"))
    os.set_inheritable(number, True)
    found = inherited_sockets()
    assert list(found) == [UnixAddress(str(short_dir / "p"))]
    with found[UnixAddress(str(short_dir / "p"))] as sock:
        assert sock.fileno() == number
        assert not sock.get_inheritable()
        assert inherited_sockets() == {}


def test_listening_tcp_socket_is_inherited(manager: Manager) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    manager.hand_over(listening)
    found = inherited_sockets()
    with found[TcpAddress("127.0.0.1", port)]:
        assert len(found) == 1


def datagrams(_: Path) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def packets(folder: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.bind(str(folder / "packets"))
    sock.listen()
    return sock


def not_listening(_: Path) -> socket.socket:
    return socket.socket(socket.AF_UNIX)


@pytest.mark.parametrize("make", [datagrams, packets, not_listening])
def test_socket_of_another_kind_is_closed(
    manager: Manager, short_dir: Path, make: Callable[[Path], socket.socket]
) -> None:
    number = manager.hand_over(make(short_dir))
    assert inherited_sockets() == {}
    assert not is_open(number)
