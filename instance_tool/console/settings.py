"""What the options that several commands share amount to, one class for each group of options.

A command's own settings inherit the classes of the groups that it has, and no others.
"""

from __future__ import annotations

import contextlib
import os

from instance_tool.client.client import EnclaveClient
from instance_tool.console.output import OutputFormat
from instance_tool.credentials.find import find_credentials
from instance_tool.credentials.source import CredentialSource
from instance_tool.errors import EnclaveError
from vsock_wire.cli.settings import Settings
from vsock_wire.errors import InputError, quoted
from vsock_wire.net.address import Address, UnixAddress, parse_address, vsock_address
from vsock_wire.protocol.messages import reply_text
from vsock_wire.protocol.vocabulary import CREDENTIALS_HELD, REGION

ENCLAVE_VARIABLE = "KMSTOOL_ENCLAVE"
"""The environment variable that says where the enclave is, where no option does."""


class ConnectionSettings(Settings):
    """Which enclave to ask, how long to wait for it, and how much to log."""

    cid: int | None
    port: int
    enclave: str | None
    timeout_s: float
    verbose: int
    quiet: bool

    def enclave_address(self) -> Address:
        """Return where the enclave is.

        Raises:
            InputError: neither the options nor the environment say that, or the options say it twice.
        """
        enclave = self.enclave
        if enclave is None and self.cid is None:
            enclave = os.environ.get(ENCLAVE_VARIABLE) or None
        if enclave is not None and self.cid is not None:
            raise InputError("--enclave and --cid cannot be used together")
        if enclave is not None:
            return parse_address(enclave)
        if self.cid is None:
            raise InputError(
                "--cid: missing", hint="pass --cid with the EnclaveCID that nitro-cli describe-enclaves shows"
            )
        return vsock_address(self.cid, self.port)

    def new_client(self) -> EnclaveClient:
        """Return a client of the enclave, which has no credentials yet.

        Raises:
            InputError: as ``enclave_address``.
        """
        return EnclaveClient(self.enclave_address(), timeout_s=self.timeout_s)


class CredentialSettings(ConnectionSettings):
    """Besides, the region of KMS and where to find credentials for it."""

    region: str | None
    profile: str | None

    def credential_source(self) -> CredentialSource:
        """Return a source that finds credentials here, and finds them again before they expire."""
        return CredentialSource(lambda: find_credentials(os.environ, profile=self.profile))

    def new_client_with_credentials(self) -> EnclaveClient:
        """Return a client whose requests reach KMS with credentials: those found here, or those of the peer.

        Only a ``kmstool-instance serve`` has credentials for its clients, and it listens on unix sockets only. An
        enclave on a vsock, perhaps kmstool in C, is not asked about it.

        Raises:
            CredentialsError: none were found.
            InputError: the peer has credentials, and the options ask for others or for another region.
            EnclaveError, TransportError, WireError: what listens on a unix socket did not say what it is.
        """
        client = self.new_client()
        with contextlib.ExitStack() as stack:
            stack.callback(client.close)
            if isinstance(client.address, UnixAddress) and self._has_peer_credentials(client):
                client.leave_credentials_to_peer()
            else:
                source = self.credential_source()
                source.current()  # to fail here, before anything is connected
                client.set_credentials(source, self.region)
            stack.pop_all()
        return client

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
                f"--profile cannot be used with {client.address}: kmstool-instance serve uses its own credentials"
            )
        served_region = reply_text(description, REGION)
        if self.region is not None and self.region != served_region:
            raise InputError(
                f"--region: {client.address} uses {quoted(served_region) if served_region else 'its default'},"
                f" got {quoted(self.region)}",
                hint="kmstool-instance serve sets the region for its clients: omit --region",
            )
        return True


class ResultSettings(CredentialSettings):
    """Besides, how to write what KMS gives the enclave."""

    output: str

    @property
    def output_format(self) -> OutputFormat:
        """How to write it."""
        return OutputFormat(self.output)


class KeySettings(Settings):
    """Which key of KMS to use, and with which encryption context."""

    key_id: str | None
    encryption_context: tuple[tuple[str, str], ...]
