"""How the log names peers."""

from __future__ import annotations

import pytest

from vsock_proxy.listener import peer_name
from vsock_wire.net.address import Address, TcpAddress, UnixAddress, VsockAddress


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
