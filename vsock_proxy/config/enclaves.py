"""Enclaves that a route may lead to, and the list of those that are permitted (pure).

The list is separate from the allowlist of destinations: reaching an enclave from outside and reaching the outside from
an enclave are different decisions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from vsock_proxy.errors import ConfigError
from vsock_wire.errors import InputError, quoted
from vsock_wire.net.address import (
    CID_ANY,
    MAX_VSOCK_PORT,
    TcpAddress,
    UnixAddress,
    VsockAddress,
    parse_address,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_NAMED = re.compile(rf"vsock://({_NAME.pattern}):([0-9]{{1,10}})", re.ASCII)


class NamedEnclave(NamedTuple):
    """A vsock port of the running enclave with this name; nitro-cli knows its CID."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"vsock://{self.name}:{self.port}"


EnclaveAddress: TypeAlias = VsockAddress | NamedEnclave | UnixAddress
"""Where an enclave listens. A unix socket stands for an enclave on a machine without Nitro."""


@dataclass(frozen=True)
class EnclaveEntry:
    """One entry of the list: an enclave, and its vsock ports.

    Attributes:
        enclave: a CID, a name, or a unix socket.
        ports: vsock ports; empty for a unix socket.
    """

    enclave: int | str | UnixAddress
    ports: frozenset[int] = frozenset()

    def __str__(self) -> str:
        if isinstance(self.enclave, UnixAddress):
            return f"enclave {self.enclave}"
        what = "CID " if isinstance(self.enclave, int) else ""
        return f"enclave {what}{self.enclave} port {', '.join(map(str, sorted(self.ports)))}"


@dataclass(frozen=True)
class EnclaveList:
    """The enclaves that routes may lead to: none, unless an entry permits it."""

    entries: tuple[EnclaveEntry, ...] = ()

    def permits(self, address: EnclaveAddress) -> bool:
        """Return whether a route may lead to ``address``. A CID does not permit a name, or the reverse."""
        if isinstance(address, UnixAddress):
            return any(entry.enclave == address for entry in self.entries)
        enclave = address.name if isinstance(address, NamedEnclave) else address.cid
        return any(entry.enclave == enclave and address.port in entry.ports for entry in self.entries)


def parse_enclave_address(text: str) -> EnclaveAddress:
    """Parse where a route leads to.

    Args:
        text: ``vsock://CID:PORT``, ``vsock://NAME:PORT`` or ``unix:PATH``.

    Raises:
        ConfigError: it is none of these.
    """
    match = _NAMED.fullmatch(text)
    if match is not None and not match[1].isdigit() and match[1] != "any":
        port = int(match[2])
        if port > MAX_VSOCK_PORT:
            raise ConfigError(f"vsock port: expected a number from 0 to {MAX_VSOCK_PORT}, got {port}")
        return NamedEnclave(match[1], port)
    try:
        address = parse_address(text)
    except InputError as error:
        raise ConfigError(str(error)) from error
    if isinstance(address, TcpAddress) or (isinstance(address, VsockAddress) and address.cid == CID_ANY):
        raise ConfigError(f"expected vsock://CID:PORT, vsock://NAME:PORT or unix:PATH, got {quoted(text)}")
    return address


def parse_enclave_name(text: str) -> str:
    """Return the name of an enclave.

    Raises:
        ConfigError: it is not 1 to 64 letters, digits, dots, dashes and underscores, or is a number or ``any``.
    """
    if not _NAME.fullmatch(text) or text.isdigit() or text == "any":
        raise ConfigError(f"expected the name of an enclave, got {quoted(text)}")
    return text
