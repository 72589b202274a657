from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from instance_tool.credentials.dial import NotConnectedError, dial


def in_seconds(timeout_s: float) -> float:
    return time.monotonic() + timeout_s


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_listener_is_connected_to_by_address_and_by_name(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with dial(host, port, deadline=in_seconds(30)) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)


def test_ipv6_address_is_connected_to() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]
        with dial("::1", port, deadline=in_seconds(30)) as sock:
            assert sock.getpeername()[:2] == ("::1", port)


def test_refusal_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        dial("127.0.0.1", port, deadline=in_seconds(30))


@pytest.mark.parametrize("host", ["no.such.name.invalid", "a..b", "a" * 64])
def test_name_that_does_not_exist_is_an_os_error(host: str) -> None:
    with pytest.raises(OSError, match=r"."):
        dial(host, 80, deadline=in_seconds(30))


def test_full_queue_of_a_listener_costs_one_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), pytest.raises(NotConnectedError):
            dial("127.0.0.1", port, deadline=in_seconds(0.2))


def test_resolver_that_hangs_costs_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()

    def hang(*_: object, **__: object) -> list[Any]:
        is_over.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(NotConnectedError, match="the name slow was not resolved"):
        dial("slow", 80, deadline=in_seconds(0.1))
    is_over.set()


def test_deadline_that_has_passed_connects_to_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(NotConnectedError):
        dial("127.0.0.1", listener.getsockname()[1], deadline=in_seconds(-1))
