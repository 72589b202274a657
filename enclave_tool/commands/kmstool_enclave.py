"""kmstool-enclave: the server inside the enclave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

import click

from enclave_tool.commands.c_command import CCompatibleCommand
from enclave_tool.commands.options import KMS_OPTIONS, KmsSettings
from enclave_tool.delivery.policy import ProgramLimits
from enclave_tool.recipient.attested_key import KEY_BITS
from enclave_tool.server.app import PROGRAM, serve
from enclave_tool.server.config import Config, parse_delivery
from enclave_tool.server.workers import MAX_WORKERS
from vsock_wire.cli.logs import LOG_FORMATS, set_up_logging
from vsock_wire.cli.memory import keep_memory_private
from vsock_wire.cli.program import CExitCodes, run_program
from vsock_wire.cli.settings import with_settings
from vsock_wire.cli.shared_options import IDLE_TIMEOUT, LOG_FORMAT, MAX_CONNECTIONS, QUIET, VERBOSE
from vsock_wire.cli.values import parse_seconds, parse_timeout
from vsock_wire.net.address import CID_ANY, parse_address, vsock_address
from vsock_wire.protocol.delivery import Delivery
from vsock_wire.protocol.vocabulary import SERVICE_PORT
from vsock_wire.rpc.server import Limits
from vsock_wire.version import version_text

MAX_MEMORY_MIB = 1_048_576
"""One TiB: more than an enclave can have."""

SERVICE_OPTIONS = (
    click.option(
        "-r", "--region", envvar="REGION", show_envvar=True, metavar="REGION",
        help="AWS region of KMS; by default the client chooses.",
    ),
    click.option(
        "-p", "--port", type=int, metavar="PORT", default=SERVICE_PORT, show_default=True,
        help="vsock port to listen on.",
    ),
    click.option(
        "--key-bits", type=click.Choice([str(bits) for bits in KEY_BITS]), default=str(KEY_BITS[0]),
        show_default=True, help="Size of the recipient's RSA key.",
    ),
    click.option(
        "--attestation-max-age", type=parse_seconds, default=0.0, show_default=True, metavar="SECONDS",
        help="How long to reuse an attestation document; 0 gets a new one per call.",
    ),
    click.option(
        "--workers", type=click.IntRange(1, MAX_WORKERS), default=1, show_default=True, metavar="N",
        help="Number of worker processes; one per vCPU is best.",
    ),
    MAX_CONNECTIONS.declare(click.option, type=click.IntRange(1), default=Limits.max_connections),
    click.option(
        "--max-connections-per-cid", type=click.IntRange(1), metavar="N",
        help="Maximum number of concurrent clients per CID; by default, --max-connections.",
    ),
    IDLE_TIMEOUT.declare(click.option, default=Limits.idle_timeout_s),
    click.option("--listen", metavar="ADDRESS", help="Listen on this address instead of vsock --port."),
)  # fmt: skip
DELIVERY_OPTIONS = (
    click.option(
        "--deliver", type=click.Choice([str(delivery) for delivery in Delivery]), default=str(Delivery.REPLY),
        show_default=True, help="What leaves the enclave: each secret, its SHA-256, or the output of PROGRAM.",
    ),
    click.option(
        "--deliver-exec", metavar="PROGRAM", help="Program to pipe each secret to; the ARGs are its arguments."
    ),
    click.option(
        "--deliver-timeout", type=parse_timeout, metavar="SECONDS", default=ProgramLimits.time_s, show_default=True,
        help="Kill PROGRAM after this long.",
    ),
    click.option(
        "--deliver-memory", type=click.IntRange(1, MAX_MEMORY_MIB), metavar="MIB",
        default=ProgramLimits.memory_bytes >> 20, show_default=True,
        help="Address space limit of each process of PROGRAM.",
    ),
)  # fmt: skip
LOG_OPTIONS = (
    VERBOSE.declare(click.option, help="Log more to standard error; repeat for more."),
    QUIET.declare(click.option, help="Log errors only."),
    LOG_FORMAT.declare(click.option, type=click.Choice(LOG_FORMATS)),
)


@dataclass(frozen=True)
class ServerSettings(KmsSettings):
    """The values of the command line's options and arguments."""

    region: str | None
    port: int
    key_bits: str
    attestation_max_age: float
    workers: int
    max_connections: int
    max_connections_per_cid: int | None
    idle_timeout: float
    listen: str | None
    deliver: str
    deliver_exec: str | None
    deliver_timeout: float
    deliver_memory: int
    deliver_arguments: tuple[str, ...] = field(repr=False)
    verbose: int
    quiet: bool
    log_format: str

    def config(self) -> Config:
        """Return the server's configuration.

        Raises:
            InputError: two options contradict each other, an address is malformed, or an address needs
                --allow-non-vsock.
        """
        listen = parse_address(self.listen) if self.listen else vsock_address(CID_ANY, self.port)
        self.check_address("--listen", listen)
        program_limits = ProgramLimits(self.deliver_timeout, self.deliver_memory << 20)
        delivery, program = parse_delivery(self.deliver, self.deliver_exec, self.deliver_arguments, program_limits)
        return Config(
            region=self.region or None,
            kms=self.kms_options(),
            nsm=self.nsm_location(),
            listen=listen,
            key_bits=int(self.key_bits),
            max_document_age_s=self.attestation_max_age,
            workers=self.workers,
            limits=Limits(
                max_connections=self.max_connections,
                max_connections_per_cid=self.max_connections_per_cid or self.max_connections,
                idle_timeout_s=self.idle_timeout,
            ),
            delivery=delivery,
            program=program,
        )


@click.command(
    PROGRAM,
    cls=CCompatibleCommand,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 80,
        "allow_interspersed_args": False,  # everything after the first ARG belongs to PROGRAM, including options
    },
)
@click.version_option(version_text(), prog_name=PROGRAM)
@with_settings(
    ServerSettings,
    *SERVICE_OPTIONS,
    *KMS_OPTIONS,
    *DELIVERY_OPTIONS,
    click.argument("deliver_arguments", nargs=-1, metavar="[ARG]..."),
    *LOG_OPTIONS,
)
def command(settings: ServerSettings) -> None:
    """Decrypt with AWS KMS for the parent instance, from inside a Nitro Enclave.

    The server makes an RSA key pair, has the Nitro Security Module attest it,
    and calls KMS through the parent's vsock-proxy over TLS that ends in the
    enclave. KMS encrypts its responses to that key, so only this enclave can
    decrypt them. kmstool-instance is its client.

    PCR0 measures the command line, including --deliver. With --deliver digest or
    exec, the server returns no plaintext, but anyone can check a guess against a
    digest. With exec, PROGRAM, called with the ARGs, reads the secret from
    standard input. It runs without a shell or an environment, and with limits on
    time, memory, processes and output.

    \b
    In an enclave:     kmstool-enclave --region us-east-1
    Secrets stay in:   kmstool-enclave --deliver exec --deliver-exec /app/sign
    Without Nitro:     kmstool-sim up   prints the command to use
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    verbosity = 0 if settings.quiet else 2 + settings.verbose
    keep_memory_private()
    set_up_logging("enclave_tool", verbosity=verbosity, log_format=settings.log_format)
    serve(settings.config())


def main() -> NoReturn:
    """Run kmstool-enclave."""
    run_program(PROGRAM, command, click.ClickException, c_exit_codes=CExitCodes())
