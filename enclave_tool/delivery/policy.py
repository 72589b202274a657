"""What leaves the enclave: the secret itself, its digest, or the output of a program that read the secret (pure).

The server's command line sets this. PCR0 measures the command line, and no request can change it. So if a key policy
names that PCR0, KMS uses the key only for an enclave with that delivery.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from vsock_wire.protocol.attestation import MAX_ATTESTED_BYTES, AttestationRequest
from vsock_wire.protocol.delivery import (
    LINE_START,
    Delivery,
    encode_delivery_line,
    encode_digest,
    encode_output,
    encode_secret,
)
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.kms_operations import check_accepted
from vsock_wire.protocol.vocabulary import Operation, RequestError

MAX_OUTPUT_BYTES = 32_768
"""Maximum output of a program. In base64 it fills two thirds of a message
(vsock_wire.protocol.frames.MAX_MESSAGE_BYTES); kmstool in C accepts less than 6 KiB of output."""
MAX_PROCESSES = 64
"""Maximum number of processes of one run at the same time, including the program itself."""
MAX_PROGRAMS = 8
"""Maximum number of concurrent runs. Any further run waits for its turn, and its own time limit includes the wait."""


@dataclass(frozen=True)
class ProgramLimits:
    """Limits on one run of a program.

    Attributes:
        time_s: seconds until it is killed. Together with KMS's timeouts, the default fits into the 30 s that
            kmstool-instance waits.
        memory_bytes: address space of each of its processes.
    """

    time_s: float = 5.0
    memory_bytes: int = 512 * 1024 * 1024


@dataclass(frozen=True)
class Program:
    """A program of the enclave image that secrets are piped to.

    Attributes:
        argv: its absolute path and its arguments; not shown by ``repr``.
        limits: limits on one run.
    """

    argv: tuple[str, ...] = field(repr=False)
    limits: ProgramLimits = field(default_factory=ProgramLimits)

    @property
    def name(self) -> str:
        """Its file name."""
        return PurePosixPath(self.argv[0]).name


@dataclass(frozen=True)
class Deliverer:
    """Turns each secret into what may leave the enclave.

    Attributes:
        delivery: what may leave.
        run_program: for Delivery.EXEC, returns the output of the program for a secret; raises DeliveryError.
    """

    delivery: Delivery = Delivery.REPLY
    run_program: Callable[[bytes], bytes] | None = None

    def __post_init__(self) -> None:
        if (self.delivery is Delivery.EXEC) != (self.run_program is not None):
            raise ValueError("run_program: required for Delivery.EXEC, and not allowed otherwise")

    def check_client(self, operation: Operation, message: JsonObject) -> None:
        """Check, before a call to KMS, that the client can read the reply to its request.

        Raises:
            RequestError: the client cannot read it.
        """
        check_accepted(operation, message, self.delivery)

    def deliver(self, secret: bytes) -> JsonObject:
        """Return the fields of the reply for ``secret``.

        Raises:
            DeliveryError: the program failed.
        """
        if self.run_program is not None:
            return encode_output(self.run_program(secret))
        if self.delivery is Delivery.DIGEST:
            return encode_digest(hashlib.sha256(secret).hexdigest())
        return encode_secret(secret)

    def user_data(self, request: AttestationRequest) -> bytes | None:
        """Return the user data of an attestation document: the delivery, followed by the client's bytes.

        It is ``deliver=NAME``, a line feed, and the client's bytes unchanged. The first line is always the enclave's
        own, even for ``reply``, so that no client can make an enclave claim a delivery that it does not have. Only with
        ``reply`` can clients leave the line out, or have the document contain their own key: KMS encrypts to the key in
        a document, which would undo ``digest`` and ``exec``.

        Raises:
            RequestError: the request asks for either with ``digest`` or ``exec``; user data without the line look like
                the line; or the line and the client's bytes together are longer than MAX_ATTESTED_BYTES.
        """
        self._check_attestation(request)
        if request.is_user_data_bare:
            return request.user_data
        own = encode_delivery_line(self.delivery, is_key_of_caller=request.public_key is not None)
        requested = request.user_data or b""
        if len(own) + len(requested) > MAX_ATTESTED_BYTES:
            raise _refusal(
                f"UserData: expected at most {MAX_ATTESTED_BYTES - len(own)} bytes, got {len(requested)}",
                hint=f"the enclave puts {len(own)} bytes of its own in front",
            )
        return own + requested

    def _check_attestation(self, request: AttestationRequest) -> None:
        if self.delivery is not Delivery.REPLY:
            hint = "the documents of this enclave carry its own key, and say how it delivers secrets"
            if request.public_key is not None:
                raise _refusal(f"PublicKey cannot be used with --deliver {self.delivery}", hint=hint)
            if request.is_user_data_bare:
                raise _refusal(f"BareUserData cannot be used with --deliver {self.delivery}", hint=hint)
        if request.is_user_data_bare and (request.user_data or b"").startswith(LINE_START):
            raise _refusal(f"UserData: expected bytes that do not begin with {LINE_START.decode()}")


def _refusal(reason: str, *, hint: str | None = None) -> RequestError:
    return RequestError(f"Could not get attestation document: {reason}", hint=hint)
