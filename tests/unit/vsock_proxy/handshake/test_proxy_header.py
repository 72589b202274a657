"""PROXY protocol, version 2: the bytes of the specification's layout."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from vsock_proxy.handshake.proxy_header import encode_proxy_header

START = bytes.fromhex("0d0a0d0a000d0a515549540a21")
"""Signature, version 2, command PROXY. Source: the specification, section 2.2."""


def test_ipv4_client_is_named() -> None:
    assert encode_proxy_header(("192.0.2.1", 56_324), ("198.51.100.2", 443)) == START + bytes.fromhex(
        "11 000c c0000201 c6336402 dc04 01bb"
    )


def test_ipv6_client_is_named_without_its_scope() -> None:
    client = ("fe80::1%2", 1, 0, 2)
    assert encode_proxy_header(client, ("2001:db8::2", 443, 0, 0)) == START + bytes.fromhex(
        "21 0024 fe800000000000000000000000000001 20010db8000000000000000000000002 0001 01bb"
    )


def test_ipv4_client_of_a_listener_for_both_families_is_named_as_ipv4() -> None:
    mapped = encode_proxy_header(("::ffff:192.0.2.1", 5, 0, 0), ("::ffff:198.51.100.2", 443, 0, 0))
    assert mapped == encode_proxy_header(("192.0.2.1", 5), ("198.51.100.2", 443))


def test_addresses_of_different_families_are_sent_as_ipv6() -> None:
    assert encode_proxy_header(("192.0.2.1", 5), ("2001:db8::2", 443)) == START + bytes.fromhex(
        "21 0024 00000000000000000000ffffc0000201 20010db8000000000000000000000002 0005 01bb"
    )


@pytest.fixture
def unix_pair(tmp_path: Path) -> Iterator[tuple[socket.socket, object]]:
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX) as client,
    ):
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        client.connect(str(tmp_path / "s"))
        accepted, name = listener.accept()
        with accepted:
            yield accepted, name


def test_unix_client_has_the_listeners_path(unix_pair: tuple[socket.socket, object]) -> None:
    accepted, name = unix_pair
    header = encode_proxy_header(name, accepted.getsockname())
    path = str(accepted.getsockname()).encode()
    assert header == START + b"\x31" + struct.pack("!H", 216) + bytes(108) + path + bytes(108 - len(path))


def test_client_of_another_kind_is_unspecified() -> None:
    assert encode_proxy_header((16, 5_000), (3, 8_000)) == START + b"\x00\x00\x00"
