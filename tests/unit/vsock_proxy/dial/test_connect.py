"""Connections to several addresses, and the options of the sockets they give."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address

import pytest

from vsock_proxy.config.destination import Destination
from vsock_proxy.dial.connect import KEEPALIVE_IDLE_S, connect_upstream
from vsock_proxy.errors import DialError


def test_first_address_that_answers_is_used_and_the_socket_is_tuned() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        destination = Destination("a.com", listener.getsockname()[1])
        addresses = [ip_address(text) for text in ("::1", "127.0.0.2", "127.0.0.1")]
        with asyncio.run(connect_upstream(destination, addresses)) as sock:
            assert sock.getpeername() == listener.getsockname()
            assert not sock.getblocking()
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == KEEPALIVE_IDLE_S


def test_scope_of_a_link_local_address_is_understood() -> None:
    with pytest.raises(DialError, match=r"connect to a\.com:1: "):
        asyncio.run(connect_upstream(Destination("a.com", 1), [ip_address("fe80::1%lo")], timeout_s=1))
    with pytest.raises(DialError, match="no interface with this name"):
        asyncio.run(connect_upstream(Destination("a.com", 1), [ip_address("fe80::1%none")], timeout_s=1))


def test_error_names_the_destination_and_every_address_tried() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        destination = Destination("a.com", unused.getsockname()[1])
        with pytest.raises(DialError) as caught:
            asyncio.run(connect_upstream(destination, [ip_address("127.0.0.1"), ip_address("127.0.0.2")]))
    assert str(caught.value) == f"connect to {destination}: connection refused, tried 127.0.0.1, 127.0.0.2"
