"""Options that the commands share, before the command's name or behind it, and the settings they amount to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click
from click.core import ParameterSource

from instance_tool.client.client import TIMEOUT_S, EnclaveClient
from instance_tool.console.output import OutputFormat
from instance_tool.credentials.find import find_credentials
from instance_tool.credentials.source import CredentialSource
from instance_tool.errors import EnclaveError
from vsock_wire.cli.program import set_up_logging
from vsock_wire.cli.shared_options import ENCRYPTION_ALGORITHM, ENCRYPTION_CONTEXT, KEY_ID, QUIET, VERBOSE
from vsock_wire.cli.values import parse_text, parse_timeout
from vsock_wire.errors import InputError, quoted
from vsock_wire.net.address import Address, UnixAddress, parse_address, vsock_address
from vsock_wire.protocol.messages import reply_text
from vsock_wire.protocol.recording import recording
from vsock_wire.protocol.vocabulary import CREDENTIALS_HELD, REGION, SERVICE_PORT, Operation

PROGRAM = "kmstool-instance"
ENCLAVE_VARIABLE = "KMSTOOL_ENCLAVE"
"""The environment variable that says where the enclave is, where no option does."""


@dataclass(frozen=True)
class Settings:
    """The options that all commands share."""

    enclave: Address
    region: str | None
    profile: str | None
    timeout_s: float
    output_format: OutputFormat
    is_explained: bool = False

    def open_client(self) -> EnclaveClient:
        """Return a client of the enclave that has no credentials yet."""
        return EnclaveClient(self.enclave, timeout_s=self.timeout_s)

    def open_client_with_credentials(self) -> EnclaveClient:
        """Return a client whose calls KMS sees with credentials: those found here, or those of the peer.

        Only a ``kmstool-instance serve`` has credentials for its clients, and it listens on unix sockets only: an
        enclave on a vsock, perhaps kmstool in C, is not asked about it.

        Raises:
            CredentialsError: none were found.
            InputError: the peer has credentials, and the options ask for others or for another region.
            EnclaveError, TransportError, WireError: what listens on a unix socket did not say what it is.
        """
        client = self.open_client()
        with contextlib.ExitStack() as stack:
            stack.callback(client.close)
            if isinstance(self.enclave, UnixAddress) and self._has_peer_credentials(client):
                client.leave_credentials_to_peer()
            else:
                source = self.credential_source()
                source.current()  # to fail here, before anything is connected
                client.set_credentials(source, self.region)
            stack.pop_all()
        return client

    def credential_source(self) -> CredentialSource:
        """Return where credentials are found, and found anew when they end."""
        return CredentialSource(lambda: find_credentials(os.environ, profile=self.profile))

    @contextlib.contextmanager
    def explaining(self, operation: Operation) -> Iterator[None]:
        """Where --explain was given, say afterwards on standard error what happened in the block, also where it failed.

        Args:
            operation: what the block has the enclave do.
        """
        if not self.is_explained:
            yield
            return
        with recording() as steps:
            try:
                yield
            finally:
                from instance_tool.trace_text import trace_text  # noqa: PLC0415 - loads what a decrypt does not need

                click.echo(trace_text(operation, steps, at=datetime.now(UTC)) + "\n", err=True)

    def _has_peer_credentials(self, client: EnclaveClient) -> bool:
        try:
            description = client.describe()
        except EnclaveError as error:
            if error.says_operation_unknown:
                return False
            raise
        if description.get(CREDENTIALS_HELD) is not True:
            return False
        if self.profile is not None:
            raise InputError(
                f"--profile: expected none, because what listens on {self.enclave} has its own credentials, got one"
            )
        served_region = reply_text(description, REGION)
        if self.region is not None and self.region != served_region:
            raise InputError(
                f"--region: expected {quoted(served_region) if served_region else 'none'}, as what listens on"
                f" {self.enclave} has it, got {quoted(self.region)}",
                hint="kmstool-instance serve chooses the region for its clients: leave --region off",
            )
        return True


SHARED_OPTIONS = (
    click.option("--cid", type=int, metavar="CID", help="vsock CID of the enclave."),
    click.option(
        "--port", type=int, metavar="PORT", default=SERVICE_PORT, show_default=True,
        help="vsock port of kmstool-enclave.",
    ),
    click.option(
        "--enclave", metavar="ADDRESS",
        help=f"Ask this address instead of vsock --cid and --port.  [env var: {ENCLAVE_VARIABLE}]",
    ),
    click.option(
        "--region", type=parse_text, metavar="REGION", help="AWS region of KMS; only if the enclave sets none."
    ),
    click.option("--profile", metavar="NAME", help="Take credentials from this AWS profile."),
    click.option(
        "--timeout", type=parse_timeout, metavar="SECONDS", default=TIMEOUT_S, show_default=True,
        help="Wait so long for the enclave.",
    ),
    click.option(
        "--output", type=click.Choice([str(form) for form in OutputFormat]), default=str(OutputFormat.RAW),
        show_default=True, help="How to write the result.",
    ),
    click.option(
        "--explain", is_flag=True, help="Tell on standard error, step by step, how the answer came about."
    ),
    VERBOSE.declare(click.option),
    QUIET.declare(click.option),
)  # fmt: skip

KEY_OPTION = KEY_ID.declare(click.option)
CONTEXT_OPTIONS = (ENCRYPTION_CONTEXT.declare(click.option), KEY_OPTION)
DECRYPT_OPTIONS = (
    *CONTEXT_OPTIONS,
    ENCRYPTION_ALGORITHM.declare(click.option),
    click.option("--batch", is_flag=True, help="Decrypt standard input, one ciphertext a line."),
    click.option("-n", "--no-newline", is_flag=True, help="Write no newline behind the plaintext."),
)  # fmt: skip


_ADDED_UP = ("encryption_context", "verbose")
"""Options that count wherever they are given."""


def merged_options(ctx: click.Context) -> dict[str, Any]:
    """Return the options given before the command's name and behind it; behind it counts, where both are given."""
    merged: dict[str, Any] = {}
    for level in filter(None, (ctx.parent, ctx)):
        for name, value in level.params.items():
            is_given = level.get_parameter_source(name) not in (None, ParameterSource.DEFAULT)
            if is_given and name in _ADDED_UP:
                merged[name] = merged.get(name, type(value)()) + value
            elif is_given or name not in merged:
                merged[name] = value
    return merged


def parse_settings(options: dict[str, Any]) -> Settings:
    """Return the settings that ``merged_options`` amount to, and set up logging as they say.

    Raises:
        InputError: it is not said, or said twice, where the enclave is.
    """
    set_up_logging("instance_tool", verbosity=0 if options["quiet"] else 1 + options["verbose"])
    enclave = options["enclave"]
    if enclave is None and options["cid"] is None:
        enclave = os.environ.get(ENCLAVE_VARIABLE) or None
    if enclave is None and options["cid"] is None:
        raise InputError(
            "--cid: expected the vsock CID of the enclave, got none",
            hint="nitro-cli describe-enclaves shows EnclaveCID",
        )
    if enclave is not None and options["cid"] is not None:
        raise InputError("--enclave and --cid exclude each other")
    return Settings(
        enclave=(parse_address(enclave) if enclave is not None else vsock_address(options["cid"], options["port"])),
        region=options["region"] or None,
        profile=options["profile"],
        timeout_s=options["timeout"],
        output_format=OutputFormat(options["output"]),
        is_explained=options["explain"],
    )
