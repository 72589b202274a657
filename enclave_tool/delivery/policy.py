"""What leaves the enclave of a secret: the secret itself, its digest, or what a program made of it (pure).

It is chosen on the command line of the server, which PCR0 measures; no request can change it. A KMS key whose policy
names that PCR0 therefore opens for an enclave of that delivery only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from vsock_wire.protocol.attestation import MAX_ATTESTED_BYTES
from vsock_wire.protocol.delivery import Delivery, encode_digest, encode_output, encode_secret
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.kms_operations import check_accepted
from vsock_wire.protocol.vocabulary import Operation, RequestError

MAX_OUTPUT_BYTES = 32_768
"""Of a program. In base64 it fills two thirds of a message
(vsock_wire.protocol.frames.MAX_MESSAGE_BYTES); kmstool in C can take in less than 6 KiB of it."""
MAX_PROCESSES = 64
"""That one run may have at once, its own included."""
MAX_PROGRAMS = 8
"""Runs at once; a further one waits for its turn, within its own time limit."""


@dataclass(frozen=True)
class ProgramLimits:
    """What one run of a program may take.

    Attributes:
        time_s: seconds until its end; with KMS's time-outs, within the 30 s that kmstool-instance waits.
        memory_bytes: address space of each of its processes.
    """

    time_s: float = 5.0
    memory_bytes: int = 512 * 1024 * 1024


@dataclass(frozen=True)
class Program:
    """A program of the enclave image that secrets are piped to.

    Attributes:
        argv: its absolute path and its arguments, which ``repr`` does not show.
        limits: what one run of it may take.
    """

    argv: tuple[str, ...] = field(repr=False)
    limits: ProgramLimits = field(default_factory=ProgramLimits)

    @property
    def name(self) -> str:
        """Its file name."""
        return PurePosixPath(self.argv[0]).name


@dataclass(frozen=True)
class Deliverer:
    """Makes of each secret what may leave the enclave.

    Attributes:
        delivery: which.
        run_program: for Delivery.EXEC, returns the output of the program for a secret; raises DeliveryError.
    """

    delivery: Delivery = Delivery.REPLY
    run_program: Callable[[bytes], bytes] | None = None

    def __post_init__(self) -> None:
        if (self.delivery is Delivery.EXEC) != (self.run_program is not None):
            raise ValueError("run_program: expected for Delivery.EXEC and for no other")

    def check_client(self, operation: Operation, message: JsonObject) -> None:
        """Refuse a request, before KMS is asked, whose client could not read the reply.

        Raises:
            RequestError: it could not.
        """
        check_accepted(operation, message, self.delivery)

    def deliver(self, secret: bytes) -> JsonObject:
        """Return the fields of the reply that carry what may leave of ``secret``.

        Raises:
            DeliveryError: the program did not do its part.
        """
        if self.run_program is not None:
            return encode_output(self.run_program(secret))
        if self.delivery is Delivery.DIGEST:
            return encode_digest(hashlib.sha256(secret).hexdigest())
        return encode_secret(secret)

    def user_data(self, requested: bytes | None) -> bytes:
        """Return the user data of an attestation document: this delivery, then what the client asked for.

        It is ``deliver=NAME`` and a line feed, then the client's bytes as they are. The first line is always the
        enclave's own, for ``reply`` too, so that no client can have an enclave say of itself what it is not.

        Args:
            requested: the client's, or None.

        Raises:
            RequestError: both together are longer than MAX_ATTESTED_BYTES.
        """
        own = f"deliver={self.delivery}\n".encode("ascii")
        requested = requested or b""
        if len(own) + len(requested) > MAX_ATTESTED_BYTES:
            raise RequestError(
                f"Could not get attestation document: UserData: expected at most {MAX_ATTESTED_BYTES - len(own)} bytes,"
                f" got {len(requested)}",
                hint=f"the enclave puts {len(own)} bytes of its own in front",
            )
        return own + requested
