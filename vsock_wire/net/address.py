"""Addresses to connect to or listen on (pure).

``vsock://CID:PORT`` is the default everywhere; ``unix:PATH`` and ``tcp://HOST:PORT`` exist to run without Nitro.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

from vsock_wire.errors import InputError, quoted

CID_ANY = 0xFFFF_FFFF
"""VMADDR_CID_ANY of <linux/vm_sockets.h>. A listener on it accepts connections to every CID of this machine."""
CID_PARENT = 3
"""CID of the parent instance as a Nitro Enclave sees it. Source: AWS Nitro Enclaves user guide, "vsock"."""
MAX_CID = 0xFFFF_FFFF
MAX_VSOCK_PORT = 0xFFFF_FFFE
"""One less than VMADDR_PORT_ANY (0xFFFFFFFF), which is not a port number."""
MAX_TCP_PORT = 65_535
MAX_UNIX_PATH_BYTES = 107
"""sun_path of <sys/un.h> holds 108 bytes, including the NUL at the end."""

EXPECTED_FORMS = "vsock://CID:PORT, unix:PATH or tcp://HOST:PORT"


class VsockAddress(NamedTuple):
    """A vsock endpoint; CID_ANY is valid only for listening."""

    cid: int
    port: int

    def __str__(self) -> str:
        return f"vsock://{'any' if self.cid == CID_ANY else self.cid}:{self.port}"


class UnixAddress(NamedTuple):
    """A unix stream socket in the file system."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


class TcpAddress(NamedTuple):
    """A TCP endpoint; ``host`` is a name or a literal address. An IPv6 address has no brackets here."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"


Address: TypeAlias = VsockAddress | UnixAddress | TcpAddress


def parse_address(text: str) -> Address:
    """Parse the text form of an address; parsing ``str()`` of the result gives an equal address.

    Does not resolve host names: a name that does not exist is accepted.

    Args:
        text: ``vsock://CID:PORT`` (CID is a number or ``any``), ``unix:PATH`` or ``tcp://HOST:PORT``.

    Raises:
        InputError: the text has none of these forms, or a number in it is out of range.
    """
    scheme, separator, rest = text.partition(":")
    if separator and scheme == "unix":
        return _parse_unix(rest)
    if rest.startswith("//") and scheme == "vsock":
        return _parse_vsock(text, rest[2:])
    if rest.startswith("//") and scheme == "tcp":
        return _parse_tcp(text, rest[2:])
    raise InputError(f"address: expected {EXPECTED_FORMS}, got {quoted(text)}")


def vsock_address(cid: int, port: int) -> VsockAddress:
    """Return the vsock address for a CID and a port that have not been checked.

    Raises:
        InputError: a number is out of range.
    """
    return VsockAddress(_in_range("CID", cid, MAX_CID), _in_range("vsock port", port, MAX_VSOCK_PORT))


def _parse_vsock(text: str, rest: str) -> VsockAddress:
    match = re.fullmatch(r"(any|[0-9]{1,10}):([0-9]{1,10})", rest, re.ASCII)
    if match is None:
        raise InputError(f"address: expected vsock://CID:PORT, got {quoted(text)}")
    return vsock_address(CID_ANY if match[1] == "any" else int(match[1]), int(match[2]))


def _parse_unix(path: str) -> UnixAddress:
    try:
        size = len(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise InputError("unix socket path: expected valid Unicode, without lone surrogates") from None
    if not 1 <= size <= MAX_UNIX_PATH_BYTES or "\0" in path:
        raise InputError(f"unix socket path: expected 1 to {MAX_UNIX_PATH_BYTES} bytes without NUL, got {size} bytes")
    return UnixAddress(path)


def _parse_tcp(text: str, rest: str) -> TcpAddress:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%a-z]+)\]|([!-.0-9;-Z\\^-~]+)):([0-9]{1,5})", rest, re.ASCII)
    if match is None:
        raise InputError(f"address: expected tcp://HOST:PORT, got {quoted(text)}")
    return TcpAddress(match[1] or match[2], _in_range("TCP port", int(match[3]), MAX_TCP_PORT))


def _in_range(what: str, number: int, largest: int) -> int:
    if not 0 <= number <= largest:
        raise InputError(f"{what}: expected a number from 0 to {largest}, got {number}")
    return number
