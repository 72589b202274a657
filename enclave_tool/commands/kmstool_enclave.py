"""kmstool-enclave: the server inside the enclave."""

from __future__ import annotations

import gc
import logging
import signal
from typing import Any, NoReturn

import click

from enclave_tool.commands.options import ROUTE_OPTIONS, parse_surroundings
from enclave_tool.delivery.policy import Deliverer, ProgramLimits
from enclave_tool.delivery.program import ProgramRunner
from enclave_tool.kms.callers import KmsClients, KmsRoute
from enclave_tool.kms.transport import tls_context
from enclave_tool.nsm.device import Nsm, open_nsm
from enclave_tool.nsm.entropy import seed_kernel_entropy
from enclave_tool.recipient.recipient import KEY_BITS, Recipient, RecipientKey
from enclave_tool.server import config as configuration
from enclave_tool.server.config import Config
from enclave_tool.server.diagnosis import Surveyor
from enclave_tool.server.session import Enclave, Session
from enclave_tool.server.workers import MAX_WORKERS, exit_on_signal, fork_workers
from vsock_wire import __version__
from vsock_wire.cli.program import run_program, set_up_logging
from vsock_wire.cli.shared_options import IDLE_TIMEOUT, MAX_CONNECTIONS, QUIET, VERBOSE, with_options
from vsock_wire.cli.values import parse_seconds, parse_timeout
from vsock_wire.net.address import CID_ANY, parse_address, vsock_address
from vsock_wire.net.sockets import bound_address, listen_socket
from vsock_wire.protocol.delivery import DELIVERY, Delivery
from vsock_wire.protocol.frames import MAX_MESSAGE_BYTES
from vsock_wire.protocol.kms_operations import MAX_CIPHERTEXT_BYTES
from vsock_wire.protocol.vocabulary import DEFAULT_REGION, PROTOCOL, PROTOCOL_VERSION, SERVICE_PORT, VERSION
from vsock_wire.rpc.server import Limits, MessageServer
from vsock_wire.rpc.shared_load import SharedLoad
from vsock_wire.version import version_text

PROGRAM = "kmstool-enclave"
MAX_MEMORY_MIB = 1_048_576
"""A TiB: more than an enclave can have."""
COLLECT_AFTER = 10_000
"""New objects between two looks for garbage that refers to itself. Python's own 700 makes for one in every decrypt."""

_logger = logging.getLogger(__name__)

DELIVERY_OPTIONS = (
    click.option(
        "--deliver", type=click.Choice([str(delivery) for delivery in Delivery]), default=str(Delivery.REPLY),
        show_default=True, help="What leaves of a secret: itself, its SHA-256, or a program's output.",
    ),
    click.option("--deliver-exec", metavar="PROGRAM", help="Pipe each secret to it; all ARGs are its own."),
    click.option(
        "--deliver-timeout", type=parse_timeout, metavar="SECONDS", default=ProgramLimits.time_s, show_default=True,
        help="End PROGRAM after so long.",
    ),
    click.option(
        "--deliver-memory", type=click.IntRange(1, MAX_MEMORY_MIB), metavar="MIB",
        default=ProgramLimits.memory_bytes >> 20, show_default=True, help="Address space of each process of PROGRAM.",
    ),
)  # fmt: skip


@click.command(
    name=PROGRAM,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 80,
        "allow_interspersed_args": False,  # what stands behind the first ARG belongs to PROGRAM, options too
    },
)
@click.version_option(version_text(), prog_name=PROGRAM)
@click.option(
    "--region",
    envvar="REGION",
    show_envvar=True,
    metavar="REGION",
    help="AWS region of KMS; else the instance's choice.",
)
@click.option(
    "--port",
    type=int,
    metavar="PORT",
    default=SERVICE_PORT,
    show_default=True,
    help="vsock port to serve.",
)
@click.option(
    "--key-bits",
    type=click.Choice([str(bits) for bits in KEY_BITS]),
    default=str(KEY_BITS[0]),
    show_default=True,
    help="Size of the recipient's RSA key.",
)
@click.option(
    "--attestation-max-age",
    type=parse_seconds,
    default=0.0,
    show_default=True,
    metavar="SECONDS",
    help="Let one attestation document serve so long; 0 asks for a new one per call.",
)
@click.option(
    "--workers", type=click.IntRange(1, MAX_WORKERS), default=1, show_default=True, metavar="N",
    help="Processes that decrypt side by side; one per vCPU is best.",
)  # fmt: skip
@MAX_CONNECTIONS.declare(click.option, type=click.IntRange(1), default=Limits.max_connections)
@click.option(
    "--max-connections-per-cid",
    type=click.IntRange(1),
    metavar="N",
    help="Of these, serve at most so many of one CID; by default all.",
)
@IDLE_TIMEOUT.declare(click.option, default=Limits.idle_timeout_s)
@click.option("--listen", metavar="ADDRESS", help="Serve this address instead of vsock --port.")
@with_options(ROUTE_OPTIONS, DELIVERY_OPTIONS)
@click.argument("deliver_arguments", nargs=-1, metavar="[ARG]...")
@VERBOSE.declare(click.option, help="Log more to standard error.")
@QUIET.declare(click.option, help="Log errors only.")
def command(**options: Any) -> None:
    """Serve KMS decryption to the parent instance, from inside a Nitro Enclave.

    Holds one RSA key pair, has the Nitro Security Module attest it, calls KMS
    through the parent's vsock-proxy with TLS ending here, and opens what KMS
    encrypts to that key. kmstool-instance is its client.

    What --deliver says is part of the command line that PCR0 measures. With
    digest or exec no plaintext leaves the enclave, but a digest lets anybody
    check a guess. PROGRAM gets the secret on standard input, no environment,
    no shell, and bounds on time, memory, processes and output.

    \b
    In an enclave:     kmstool-enclave --region us-east-1
    Secrets stay in:   kmstool-enclave --deliver exec --deliver-exec /app/sign
    Without Nitro:     kmstool-sim up   prints the command to use
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    set_up_logging("enclave_tool", verbosity=0 if options["quiet"] else 2 + options["verbose"])
    serve(_config(options))


def serve(config: Config) -> NoReturn:
    """Seed the kernel, make the recipient key, listen, and serve until SIGTERM; with several workers in each of them.

    Raises:
        NsmError: there is no Nitro Security Module, or entropy could not be had from it.
        InputError: the CA bundle cannot be read, or the program of the delivery not be executed.
        TransportError: the address cannot be bound.
    """
    signal.signal(signal.SIGTERM, exit_on_signal)
    deliverer = Deliverer(config.delivery, ProgramRunner(config.program).run if config.program else None)
    with open_nsm(config.nsm) as nsm:
        seed_kernel_entropy(nsm)  # before any key is made
        recipient = Recipient(
            nsm, key=RecipientKey.generate(config.key_bits), max_document_age_s=config.max_document_age_s
        )

        def attest(nonce: bytes | None, user_data: bytes | None) -> bytes:
            return recipient.attest(nonce, deliverer.user_data(user_data))

        route = KmsRoute(config.proxy, tls_context(config.ca_file), config.endpoint_host)
        clients = KmsClients(recipient, route)
        enclave = Enclave(
            clients,
            config.region,
            _describe(config, nsm, recipient),
            attest,
            Surveyor(nsm, recipient, route).survey,
            deliverer,
        )
        clients.endpoint_url(config.region or DEFAULT_REGION)  # loads botocore's data, once for all workers
        listener = listen_socket(config.listen)
        _logger.info("listening on %s", bound_address(listener, config.listen))
        load, worker = SharedLoad(config.workers), 0
        spare_loaded_objects()
        if config.workers > 1:
            worker = fork_workers(config.workers, listener, load, drain_s=config.limits.drain_s)
        MessageServer(PROGRAM, listener, lambda: Session(enclave), config.limits, load=load, worker=worker).serve()


def main() -> NoReturn:
    """Run kmstool-enclave."""
    run_program(PROGRAM, command, click.ClickException)


def spare_loaded_objects() -> None:
    """Have the collector leave alone what is loaded by now: it stays shared between workers, and costs no request."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def _config(options: dict[str, Any]) -> Config:
    listen = options["listen"]
    delivery, program = configuration.parse_delivery(
        options["deliver"],
        options["deliver_exec"],
        options["deliver_arguments"],
        ProgramLimits(options["deliver_timeout"], options["deliver_memory"] << 20),
    )
    config = Config(
        **vars(parse_surroundings(options)),
        listen=parse_address(listen) if listen else vsock_address(CID_ANY, options["port"]),
        key_bits=int(options["key_bits"]),
        max_document_age_s=options["attestation_max_age"],
        workers=options["workers"],
        limits=Limits(
            max_connections=options["max_connections"],
            max_connections_per_cid=options["max_connections_per_cid"] or options["max_connections"],
            idle_timeout_s=options["idle_timeout"],
        ),
        delivery=delivery,
        program=program,
    )
    if not options["allow_non_vsock"]:
        configuration.refuse_non_vsock(config)
    return config


def _describe(config: Config, nsm: Nsm, recipient: Recipient) -> dict[str, object]:
    return {
        VERSION: __version__,
        PROTOCOL: PROTOCOL_VERSION,
        "ModuleId": nsm.describe().module_id,
        "RecipientKeyId": recipient.key.identifier.hex(),
        DELIVERY: config.delivery,
        "Workers": config.workers,
        "Limits": {
            "MessageBytes": MAX_MESSAGE_BYTES,
            "CiphertextBytes": MAX_CIPHERTEXT_BYTES,
            "Connections": config.limits.max_connections,
            "ConnectionsPerCid": config.limits.max_connections_per_cid,
            "IdleTimeoutS": config.limits.idle_timeout_s,
            "AttestationMaxAgeS": config.max_document_age_s,
        },
    }
