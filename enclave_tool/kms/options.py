"""How KMS is reached and whom to trust there: one object for the library, the server and the command lines (pure)."""

from __future__ import annotations

import math
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from enclave_tool.arguments import expect_type
from enclave_tool.kms.clock import KmsClock
from vsock_wire.errors import InputError, quoted
from vsock_wire.net.address import (
    CID_PARENT,
    MAX_TCP_PORT,
    Address,
    TcpAddress,
    UnixAddress,
    VsockAddress,
    parse_address,
)

PROXY_PORT = 8_000
"""Default of the vsock-proxy's examples and of kmstool's code."""
CONNECT_TIMEOUT_S = 3.0
"""For the proxy and the TLS handshake behind it."""
READ_TIMEOUT_S = 5.0
"""KMS answers within tens of milliseconds; kmstool in C waits for ever when it does not. Three attempts of 8 s and at
most 3 s between them end before kmstool-instance gives up on the enclave after 30 s, so the reason still reaches it."""
MAX_CONNECTIONS = 64


@dataclass(frozen=True)
class KmsOptions:
    """How to reach KMS, and whom to trust there. The defaults fit an enclave whose parent runs vsock-proxy.

    Attributes:
        proxy: the vsock-proxy to dial, as an address or its text; by default on the parent instance, port 8000.
        endpoint_host: KMS host name, where it is not the region's usual one.
        ca_file: PEM bundle of the authorities trusted to name KMS; by default those that botocore trusts.
        tls: in place of ``ca_file``, a context from ``tls_context``: share one between clients, it takes 20 ms to make.
        connect_timeout_s: seconds for reaching the proxy, and for the TLS handshake behind it.
        read_timeout_s: seconds for each wait on KMS.
        max_connections: how many connections to KMS are kept.
        clock: what is known of KMS's clock. By default each client gets a new one and knows nothing yet; share one
            between clients, so that only the first of them has to be refused to learn it.

    Raises:
        TypeError: a field has a wrong type.
        ValueError: a number is out of range, or there are both ``ca_file`` and ``tls``.
        InputError: the text of an address or of a host name is malformed.
    """

    proxy: Address | str = VsockAddress(CID_PARENT, PROXY_PORT)
    endpoint_host: str | None = None
    ca_file: str | Path | None = None
    tls: ssl.SSLContext | None = None
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    read_timeout_s: float = READ_TIMEOUT_S
    max_connections: int = MAX_CONNECTIONS
    clock: KmsClock | None = None

    def __post_init__(self) -> None:
        expect_type("proxy", self.proxy, (str, VsockAddress, UnixAddress, TcpAddress), "an address, or its text")
        expect_type("endpoint_host", self.endpoint_host, (str, type(None)), "a host name")
        expect_type("ca_file", self.ca_file, (str, Path, type(None)), "the path of a PEM file")
        expect_type("tls", self.tls, (ssl.SSLContext, type(None)), "an ssl.SSLContext, from tls_context")
        expect_type("clock", self.clock, (KmsClock, type(None)), "a KmsClock")
        _expect_timeout("connect_timeout_s", self.connect_timeout_s)
        _expect_timeout("read_timeout_s", self.read_timeout_s)
        expect_type("max_connections", self.max_connections, (int,), "a number")
        if self.max_connections < 1:
            raise ValueError(f"max_connections: expected at least 1, got {self.max_connections}")
        if self.ca_file is not None and self.tls is not None:
            raise ValueError("pass either ca_file or tls, not both: a TLS context has its authorities already")
        # What was given as text is kept parsed, so that equal options are equal.
        if isinstance(self.proxy, str):
            object.__setattr__(self, "proxy", parse_address(self.proxy))
        if self.endpoint_host is not None:
            object.__setattr__(self, "endpoint_host", parse_endpoint_host(self.endpoint_host))

    @property
    def proxy_address(self) -> Address:
        """``proxy`` as an address."""
        return cast("Address", self.proxy)


def parse_endpoint_host(text: str, *, subject: str = "endpoint_host") -> str:
    """Return the host (and port, where one is given) of a KMS endpoint.

    kmstool takes a bare host name; an ``https://`` in front is taken as well.

    Args:
        text: what was given.
        subject: what the error calls it.

    Raises:
        InputError: it is another scheme, or more than a host and port.
    """
    host = text.removeprefix("https://").rstrip("/")
    match = re.fullmatch(r"[A-Za-z0-9.-]{1,253}(?::([0-9]{1,5}))?", host, re.ASCII)
    if match is None or not 1 <= int(match[1] or 443) <= MAX_TCP_PORT:
        raise InputError(f"{subject}: expected a host name such as kms.us-east-1.amazonaws.com, got {quoted(text)}")
    return host


def _expect_timeout(name: str, value: object) -> None:
    expect_type(name, value, (int, float), "a number of seconds")
    seconds = cast("float", value)
    if not 0 < seconds < math.inf:
        raise ValueError(f"{name}: expected a number of seconds greater than 0, got {seconds}")
