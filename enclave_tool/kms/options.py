"""How to reach KMS and which authorities to trust: one class for the library, server and command lines (pure)."""

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
from vsock_wire.protocol.messages import is_region_name

PROXY_PORT = 8_000
"""The default in vsock-proxy's examples and in kmstool's code."""
CONNECT_TIMEOUT_S = 3.0
"""Timeout for connecting to the proxy, and for the TLS handshake with KMS."""
READ_TIMEOUT_S = 5.0
"""KMS responds within tens of milliseconds. If it does not, kmstool in C waits forever. Three attempts of 8 s, with at
most 3 s between them, end before kmstool-instance times out after 30 s, so the reason still reaches it."""
MAX_CONNECTIONS = 64


@dataclass(frozen=True)
class KmsOptions:
    """How to reach KMS, and which authorities to trust. The defaults fit an enclave whose parent runs vsock-proxy.

    Attributes:
        proxy: address of the vsock-proxy, as an object or as text; by default port 8000 of the parent instance.
        proxy_connect: whether the proxy's port is a CONNECT route, which leads to every host that the proxy permits,
            such as KMS in several regions. Otherwise the port leads to one host.
        endpoint_host: KMS host name, if it is not the region's usual one.
        ca_file: PEM bundle of the authorities trusted to identify KMS; by default those that botocore trusts.
        tls: a context from ``tls_context``, instead of ``ca_file``. Share one between clients: creating it takes 20 ms.
        connect_timeout_s: seconds to connect to the proxy, and again for the TLS handshake with KMS.
        read_timeout_s: seconds for each wait for KMS.
        max_connections: maximum number of kept connections to KMS.
        allowed_regions: regions that botocore does not know yet; ``attested_kms_client`` takes any region.
        clock: what is known about KMS's clock; by default a new one for each client. If clients share one, KMS has to
            refuse only one of them before all know the difference.

    Raises:
        TypeError: a field has the wrong type.
        ValueError: a number is out of range, or both ``ca_file`` and ``tls`` are given.
        InputError: the text of an address or of a host name is malformed.
    """

    proxy: Address | str = VsockAddress(CID_PARENT, PROXY_PORT)
    proxy_connect: bool = False
    endpoint_host: str | None = None
    ca_file: str | Path | None = None
    tls: ssl.SSLContext | None = None
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    read_timeout_s: float = READ_TIMEOUT_S
    max_connections: int = MAX_CONNECTIONS
    clock: KmsClock | None = None
    allowed_regions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        expect_type("proxy", self.proxy, (str, VsockAddress, UnixAddress, TcpAddress), "an address, or its text")
        expect_type("proxy_connect", self.proxy_connect, (bool,), "True or False")
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
        # Keep addresses and host names parsed, so that equal options compare equal.
        if isinstance(self.proxy, str):
            object.__setattr__(self, "proxy", parse_address(self.proxy))
        if self.endpoint_host is not None:
            object.__setattr__(self, "endpoint_host", parse_endpoint_host(self.endpoint_host))
        expect_type("allowed_regions", self.allowed_regions, (tuple,), "a tuple of names of regions")
        for region in self.allowed_regions:
            parse_region_name(region, subject="allowed_regions")

    @property
    def proxy_address(self) -> Address:
        """The address of the proxy."""
        return cast("Address", self.proxy)


def parse_endpoint_host(text: str, *, subject: str = "endpoint_host") -> str:
    """Return the host, with the port if there is one, of a KMS endpoint.

    Accepts a bare host name, as kmstool does, or one with ``https://`` in front.

    Args:
        text: the endpoint.
        subject: what errors call it.

    Raises:
        InputError: ``text`` has another scheme, or has more than a host and a port.
    """
    host = text.removeprefix("https://").rstrip("/")
    match = re.fullmatch(r"[A-Za-z0-9.-]{1,253}(?::([0-9]{1,5}))?", host, re.ASCII)
    if match is None or not 1 <= int(match[1] or 443) <= MAX_TCP_PORT:
        raise InputError(f"{subject}: expected a host name such as kms.us-east-1.amazonaws.com, got {quoted(text)}")
    return host


def parse_region_name(text: str, *, subject: str) -> str:
    """Return a name that has the form of a region's: words of letters and digits, the first of letters alone.

    Args:
        text: the name.
        subject: what errors call it.

    Raises:
        InputError: it has another form, so it can be no region.
    """
    if not is_region_name(text):
        raise InputError(f"{subject}: expected the name of a region such as us-east-1, got {quoted(text)}")
    return text


def _expect_timeout(name: str, value: object) -> None:
    expect_type(name, value, (int, float), "a number of seconds")
    seconds = cast("float", value)
    if not 0 < seconds < math.inf:
        raise ValueError(f"{name}: expected a number of seconds greater than 0, got {seconds}")
