"""The header of the PROXY protocol, version 2: tells a destination who is calling (pure).

Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, section 2.2.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from vsock_proxy.config.destination import parse_ip_address

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_PROXY = 0x21
"""Version 2, command PROXY."""
_TCP_OVER_IPV4 = 0x11
_TCP_OVER_IPV6 = 0x21
_UNIX_STREAM = 0x31
_UNSPECIFIED = 0x00
_UNIX_PATH_BYTES = 108


def encode_proxy_header(client: object, listener: object) -> bytes:
    """Return the header that a destination reads before the bytes of a connection.

    A unix client has no name, so the header of its connection has the family and two empty paths, or the listener's.

    Args:
        client: what ``accept`` returned as the peer's address.
        listener: what ``getsockname`` of the accepted socket returned.
    """
    source, destination = _tcp_name(client), _tcp_name(listener)
    if source is not None and destination is not None:
        return _encode_tcp(*source, *destination)
    if isinstance(listener, str | bytes):
        path = listener if isinstance(listener, bytes) else listener.encode("utf-8", "surrogateescape")
        return _header(_UNIX_STREAM, bytes(_UNIX_PATH_BYTES) + path[:_UNIX_PATH_BYTES].ljust(_UNIX_PATH_BYTES, b"\0"))
    return _header(_UNSPECIFIED, b"")


def _encode_tcp(
    source: IPv4Address | IPv6Address, source_port: int, destination: IPv4Address | IPv6Address, destination_port: int
) -> bytes:
    ports = struct.pack("!HH", source_port, destination_port)
    if isinstance(source, IPv4Address) and isinstance(destination, IPv4Address):
        return _header(_TCP_OVER_IPV4, source.packed + destination.packed + ports)
    return _header(_TCP_OVER_IPV6, _as_ipv6(source) + _as_ipv6(destination) + ports)


def _tcp_name(name: object) -> tuple[IPv4Address | IPv6Address, int] | None:
    match name:
        case (str(host), int(port), *_):
            address = parse_ip_address(host.partition("%")[0])  # without the scope, which has no place in the header
            return None if address is None else (address, port)
        case _:
            return None


def _as_ipv6(address: IPv4Address | IPv6Address) -> bytes:
    return address.packed if isinstance(address, IPv6Address) else bytes(10) + b"\xff\xff" + address.packed


def _header(family: int, addresses: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", _PROXY, family, len(addresses)) + addresses
