"""What the server is told at its start, checked before anything is opened (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from enclave_tool.kms import PROXY_PORT
from enclave_tool.nsm_device import NSM_DEVICE
from enclave_tool.recipient import KEY_BITS
from enclave_tool.server import Limits
from vsock_wire.address import CID_ANY, CID_PARENT, MAX_TCP_PORT, Address, UnixAddress, VsockAddress, parse_address
from vsock_wire.errors import InputError, quoted

SERVICE_PORT = 3_000
"""kmstool's own."""


@dataclass(frozen=True)
class Config:
    """Everything the server needs to know.

    Attributes:
        listen: where instances connect.
        proxy: the vsock-proxy on the parent.
        nsm: the Nitro Security Module's device, or a simulator's socket.
        region: of KMS, or None to let the instance choose.
        endpoint_host: KMS host name, where it is not the region's usual one.
        ca_file: PEM bundle of the authorities trusted to name KMS, or None for botocore's.
        key_bits: size of the recipient key.
        max_document_age_s: how long an attestation document may serve, in seconds.
        limits: what one client may take.
    """

    listen: Address = VsockAddress(CID_ANY, SERVICE_PORT)
    proxy: Address = VsockAddress(CID_PARENT, PROXY_PORT)
    nsm: Path | UnixAddress = Path(NSM_DEVICE)
    region: str | None = None
    endpoint_host: str | None = None
    ca_file: str | None = None
    key_bits: int = KEY_BITS[0]
    max_document_age_s: float = 0.0
    limits: Limits = field(default_factory=Limits)


def parse_nsm_location(text: str) -> Path | UnixAddress:
    """Return the device's path, or the address of a simulator's socket.

    Raises:
        InputError: it begins like an address but is not one of a unix socket.
    """
    if text.startswith("/"):
        return Path(text)
    address = parse_address(text)
    if not isinstance(address, UnixAddress):
        raise InputError(f"--nsm: expected a device's path or unix:PATH, got {quoted(text)}")
    return address


def parse_endpoint_host(text: str) -> str:
    """Return the host (and port, where one is given) of a KMS endpoint.

    kmstool takes a bare host name; an ``https://`` in front is taken as well.

    Raises:
        InputError: it is another scheme, or more than a host and port.
    """
    host = text.removeprefix("https://").rstrip("/")
    match = re.fullmatch(r"[A-Za-z0-9.-]{1,253}(?::([0-9]{1,5}))?", host, re.ASCII)
    if match is None or not 1 <= int(match[1] or 443) <= MAX_TCP_PORT:
        raise InputError(f"--endpoint: expected a host name such as kms.us-east-1.amazonaws.com, got {quoted(text)}")
    return host


def refuse_non_vsock(config: Config) -> None:
    """Refuse whatever exists only to run without Nitro.

    An image is measured with its command line but may read its environment from elsewhere; nothing there can turn the
    enclave's traffic to a socket of another kind.

    Raises:
        InputError: an address is not a vsock one, or the NSM no device.
    """
    hint = "pass --allow-non-vsock to run without Nitro hardware; never in an image that KMS policies trust"
    for flag, address in (("--listen", config.listen), ("--proxy", config.proxy)):
        if not isinstance(address, VsockAddress):
            raise InputError(f"{flag}: expected a vsock address, got {address}", hint=hint)
    if isinstance(config.nsm, UnixAddress):
        raise InputError(f"--nsm: expected a device, got {config.nsm}", hint=hint)
