"""What the enclave's programs are told at their start, checked before anything is opened (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from enclave_tool.delivery.policy import Program, ProgramLimits
from enclave_tool.kms.client import PROXY_PORT
from enclave_tool.nsm.device import NSM_DEVICE
from enclave_tool.recipient.recipient import KEY_BITS
from vsock_wire.errors import InputError, quoted
from vsock_wire.net.address import (
    CID_ANY,
    CID_PARENT,
    MAX_TCP_PORT,
    Address,
    UnixAddress,
    VsockAddress,
    parse_address,
)
from vsock_wire.protocol.delivery import Delivery
from vsock_wire.protocol.vocabulary import SERVICE_PORT
from vsock_wire.rpc.server import Limits


@dataclass(frozen=True)
class Surroundings:
    """What a program in the enclave finds around it.

    Attributes:
        proxy: the vsock-proxy on the parent.
        nsm: the Nitro Security Module's device, or a simulator's socket.
        region: of KMS, or None where that is not said.
        endpoint_host: KMS host name, where it is not the region's usual one.
        ca_file: PEM bundle of the authorities trusted to name KMS, or None for botocore's.
    """

    proxy: Address = VsockAddress(CID_PARENT, PROXY_PORT)
    nsm: Path | UnixAddress = Path(NSM_DEVICE)
    region: str | None = None
    endpoint_host: str | None = None
    ca_file: str | None = None


@dataclass(frozen=True)
class Config(Surroundings):
    """Everything the server needs to know; without a region, the instance chooses it.

    Attributes:
        listen: where instances connect.
        key_bits: size of the recipient key.
        max_document_age_s: how long an attestation document may serve, in seconds.
        workers: how many processes serve.
        limits: what one client may take.
        delivery: what leaves the enclave of a secret.
        program: what makes it, where the delivery is ``exec``.
    """

    listen: Address = VsockAddress(CID_ANY, SERVICE_PORT)
    key_bits: int = KEY_BITS[0]
    max_document_age_s: float = 0.0
    workers: int = 1
    limits: Limits = field(default_factory=Limits)
    delivery: Delivery = Delivery.REPLY
    program: Program | None = None


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


def parse_delivery(
    name: str, program: str | None, arguments: tuple[str, ...], limits: ProgramLimits
) -> tuple[Delivery, Program | None]:
    """Return the delivery, and for ``exec`` the program that makes it.

    Args:
        name: of the delivery.
        program: its path, where one was given.
        arguments: behind its name in its argv.
        limits: what one run of it may take.

    Raises:
        InputError: ``exec`` without a program, a program or arguments without ``exec``, or a path that is not absolute:
            what runs must not depend on the environment.
    """
    delivery = Delivery(name)
    if delivery is not Delivery.EXEC:
        if program is not None or arguments:
            raise InputError(f"--deliver {delivery}: expected neither --deliver-exec nor arguments, got some")
        return delivery, None
    if program is None:
        raise InputError("--deliver exec: expected --deliver-exec PROGRAM [ARG...], got none")
    if not program.startswith("/"):
        raise InputError(f"--deliver-exec: expected an absolute path, got {quoted(program)}")
    return delivery, Program((program, *arguments), limits)


def refuse_non_vsock(surroundings: Surroundings) -> None:
    """Refuse whatever exists only to run without Nitro.

    An image is measured with its command line but may read its environment from elsewhere; nothing there can turn the
    enclave's traffic to a socket of another kind.

    Raises:
        InputError: an address is not a vsock one, or the NSM no device.
    """
    hint = "pass --allow-non-vsock to run without Nitro hardware; never in an image that KMS policies trust"
    if isinstance(surroundings, Config) and not isinstance(surroundings.listen, VsockAddress):
        raise InputError(f"--listen: expected a vsock address, got {surroundings.listen}", hint=hint)
    if not isinstance(surroundings.proxy, VsockAddress):
        raise InputError(f"--proxy: expected a vsock address, got {surroundings.proxy}", hint=hint)
    if isinstance(surroundings.nsm, UnixAddress):
        raise InputError(f"--nsm: expected a device, got {surroundings.nsm}", hint=hint)
