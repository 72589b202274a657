"""What the server is told at its start, checked before anything is opened (pure)."""

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
    """Everything the server needs to know.

    Attributes:
        region: of KMS, or None to let the instance choose it.
        kms: how KMS is reached, and who is trusted to be KMS.
        nsm: the Nitro Security Module's device, or a simulator's socket.
        listen: where instances connect.
        key_bits: size of the recipient key.
        max_document_age_s: how long an attestation document may serve, in seconds.
        workers: how many processes serve.
        limits: what one client may take.
        delivery: what leaves the enclave of a secret.
        program: what makes it, where the delivery is ``exec``.
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
            raise InputError(f"--deliver {delivery}: --deliver-exec and ARGs need --deliver exec")
        return delivery, None
    if program is None:
        raise InputError("--deliver exec: needs --deliver-exec PROGRAM [ARG...]")
    if not program.startswith("/"):
        raise InputError(f"--deliver-exec: expected an absolute path, got {quoted(program)}")
    return delivery, Program((program, *arguments), limits)
