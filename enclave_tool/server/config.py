"""The server's configuration, checked before anything is opened (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from enclave_tool.delivery.policy import Program, ProgramLimits
from enclave_tool.kms.options import KmsOptions
from enclave_tool.nsm.device import NSM_DEVICE
from enclave_tool.recipient.attested_key import KEY_BITS
from vsock_wire.errors import InputError, quoted
from vsock_wire.net.address import CID_ANY, Address, UnixAddress, VsockAddress
from vsock_wire.protocol.delivery import Delivery
from vsock_wire.protocol.vocabulary import SERVICE_PORT
from vsock_wire.rpc.server import Limits


@dataclass(frozen=True)
class Config:
    """The server's configuration.

    Attributes:
        region: the region of KMS, or None to let clients choose it.
        kms: how to reach KMS, and which authorities to trust.
        nsm: the Nitro Security Module's device, or a simulator's socket.
        listen: the address that clients connect to.
        key_bits: size of the recipient key.
        max_document_age_s: how many seconds to reuse an attestation document.
        workers: number of worker processes.
        limits: what the server allows its clients.
        delivery: how much of a secret leaves the enclave.
        program: the program that reads secrets if the delivery is ``exec``.
    """

    region: str | None = None
    kms: KmsOptions = field(default_factory=KmsOptions)
    nsm: Path | UnixAddress = Path(NSM_DEVICE)
    listen: Address = VsockAddress(CID_ANY, SERVICE_PORT)
    key_bits: int = KEY_BITS[0]
    max_document_age_s: float = 0.0
    workers: int = 1
    limits: Limits = field(default_factory=Limits)
    delivery: Delivery = Delivery.REPLY
    program: Program | None = None


def parse_delivery(
    name: str, program: str | None, arguments: tuple[str, ...], limits: ProgramLimits
) -> tuple[Delivery, Program | None]:
    """Return the delivery, and for ``exec`` the program that reads secrets.

    Args:
        name: the name of the delivery.
        program: the path of the program, or None.
        arguments: the program's arguments.
        limits: limits on one run of the program.

    Raises:
        InputError: there is ``exec`` without a program, or a program or arguments without ``exec``, or the path is not
            absolute (the environment must not decide what runs).
    """
    delivery = Delivery(name)
    if delivery is not Delivery.EXEC:
        if program is not None or arguments:
            raise InputError(f"--deliver {delivery}: --deliver-exec and ARGs need --deliver exec")
        return delivery, None
    if program is None:
        raise InputError("--deliver exec: needs --deliver-exec PROGRAM [ARG...]")
    if not program.startswith("/"):
        raise InputError(f"--deliver-exec: expected an absolute path, got {quoted(program)}")
    return delivery, Program((program, *arguments), limits)
