"""The command that shares connections to the enclave with local programs."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from instance_tool.client.client import EnclaveClient
from instance_tool.client.pool import EnclavePool
from instance_tool.console.options import CREDENTIAL_OPTIONS, PROGRAM, with_connection
from instance_tool.console.settings import CredentialSettings
from instance_tool.local_service.folder import verify_private_folder
from instance_tool.local_service.session import LocalSession, ServedEnclave
from instance_tool.local_service.socket import listen_private_socket
from instance_tool.local_service.waiting import send_credentials_when_up
from vsock_wire.cli.shared_options import IDLE_TIMEOUT, MAX_CONNECTIONS
from vsock_wire.errors import InputError, TransportError, printable
from vsock_wire.net.address import UnixAddress, parse_address
from vsock_wire.protocol.messages import reply_text
from vsock_wire.protocol.vocabulary import REGION
from vsock_wire.rpc.server import Limits, MessageServer

ENCLAVE_CONNECTIONS = 4
"""The default: a KMS call takes tens of milliseconds, so a few keep an enclave with two CPUs busy."""
MAX_ENCLAVE_CONNECTIONS = 64
"""As many connections as kmstool-enclave keeps to KMS."""


class ServeSettings(CredentialSettings):
    """The options of ``serve``."""

    socket_path: str
    enclave_connections: int
    max_connections: int
    idle_timeout: float


@click.command()
@with_connection(
    ServeSettings,
    *CREDENTIAL_OPTIONS,
    click.option("--socket", "socket_path", required=True, metavar="PATH", help="Unix socket to listen on."),
    click.option(
        "--enclave-connections", type=click.IntRange(1, MAX_ENCLAVE_CONNECTIONS), default=ENCLAVE_CONNECTIONS,
        show_default=True, metavar="N", help="Maximum number of concurrent requests to the enclave.",
    ),
    MAX_CONNECTIONS.declare(click.option, type=click.IntRange(1), default=Limits.max_connections),
    IDLE_TIMEOUT.declare(click.option, default=Limits.idle_timeout_s),
)  # fmt: skip
def serve(settings: ServeSettings) -> None:
    """Share connections to the enclave with this user's programs.

    A program that can talk to an enclave can talk to PATH instead, and needs no
    credentials: this command finds them and renews them before they expire.
    Only this user and root can connect. If the enclave is not up yet, waits for
    it. Runs until SIGTERM, then finishes the requests in progress.

    \b
    Examples:
      kmstool-instance serve --cid 16 --socket $XDG_RUNTIME_DIR/kms &
      kmstool-instance --enclave unix:$XDG_RUNTIME_DIR/kms CIPHERTEXT
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    address = parse_address(f"unix:{settings.socket_path}")
    if address == settings.enclave_address() or not isinstance(address, UnixAddress):
        raise InputError("--socket and --enclave name the same socket")
    serve_enclave(settings, address)


def serve_enclave(settings: ServeSettings, address: UnixAddress) -> NoReturn:
    """Wait for the enclave, listen, announce it, and serve until SIGTERM.

    kmstool in C gets one connection, because it serves one client at a time.

    Args:
        settings: the enclave, where to find credentials, and the limits for local programs.
        address: where to listen.

    Raises:
        CredentialsError, EnclaveError, TransportError, WireError: the enclave cannot be used.
        InputError: another user could replace the socket.
        TransportError: the socket cannot be bound.
    """
    signal.signal(signal.SIGTERM, _stop)
    source, region_source = settings.credential_source(), settings.region_source()
    if region_source.is_required:
        region_source.known()  # fails here, before anything is connected

    def new_client() -> EnclaveClient:
        client = settings.new_client()
        client.set_credentials(source, region_source)
        return client

    def announce(error: TransportError) -> None:
        if not settings.quiet:
            click.echo(f"{PROGRAM}: waiting for the enclave: {printable(str(error))}", err=True)

    verify_private_folder(Path(address.path).absolute().parent)  # before the wait, not only after it
    with new_client() as first, contextlib.ExitStack() as stack:
        send_credentials_when_up(first, announce)
        listener = stack.enter_context(listen_private_socket(address))
        is_legacy = first.is_legacy_peer
        pool = EnclavePool(new_client, size=1 if is_legacy else settings.enclave_connections)
        region = first.region or (None if is_legacy else reply_text(first.describe(), REGION))
        served = ServedEnclave(pool, region, is_legacy, source)
        first.close()
        if not settings.quiet:
            click.echo(f"{PROGRAM}: serving {address} for {first.address}", err=True)
        limits = Limits(max_connections=settings.max_connections, idle_timeout_s=settings.idle_timeout)
        try:
            MessageServer(f"{PROGRAM} serve", listener, lambda: LocalSession(served), limits).serve()
        finally:
            pool.close()


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)
