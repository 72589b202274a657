"""Settings classes for the options that commands share, one for each group of options.

The settings of a command inherit the classes of the groups that it has, and no others.
"""

from __future__ import annotations

import contextlib
import os

from instance_tool.client.client import EnclaveClient
from instance_tool.console.output import OutputFormat
from instance_tool.credentials.find import find_credentials
from instance_tool.credentials.region import RegionSource
from instance_tool.credentials.source import CredentialSource
from instance_tool.errors import EnclaveError
from vsock_wire.cli.settings import Settings
from vsock_wire.errors import InputError, quoted
from vsock_wire.net.address import Address, UnixAddress, parse_address, vsock_address
from vsock_wire.protocol.messages import reply_text
from vsock_wire.protocol.vocabulary import CREDENTIALS_HELD, REGION

ENCLAVE_VARIABLE = "KMSTOOL_ENCLAVE"
"""Environment variable with the enclave's address, used if no option gives one."""


class ConnectionSettings(Settings):
    """Which enclave to ask, how long to wait for it, and how much to log."""

    cid: int | None
    port: int
    enclave: str | None
    trusted_uids: tuple[int, ...]
    timeout_s: float
    verbose: int
    quiet: bool
    log_format: str

    def enclave_address(self) -> Address:
        """Return the address of the enclave.

        Raises:
            InputError: neither the options nor the environment give one, or the options give two.
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
        """Return a client of the enclave, without credentials.

        Raises:
            InputError: as ``enclave_address``.
        """
        return EnclaveClient(self.enclave_address(), timeout_s=self.timeout_s, trusted_uids=self.trusted_uids)


class CredentialSettings(ConnectionSettings):
    """Also the region of KMS, and where to find credentials."""

    region: str | None
    profile: str | None

    def credential_source(self) -> CredentialSource:
        """Return a source that finds credentials on this instance and replaces them before they expire."""
        return CredentialSource(lambda: find_credentials(os.environ, profile=self.profile))

    def region_source(self) -> RegionSource:
        """Return a source of the region for an enclave that sets none."""
        return RegionSource(self.region, os.environ, profile=self.profile)

    def new_client_with_credentials(self) -> EnclaveClient:
        """Return a client with credentials: those found on this instance, or those of the peer.

        Only ``kmstool-instance serve`` has credentials for its clients, and it listens on unix sockets only. So a peer
        on a unix socket is asked to describe itself; an enclave on a vsock, which may run kmstool in C, is not.

        Raises:
            CredentialsError: none were found.
            InputError: the peer has credentials, but the options ask for others or for another region; or the settings
                of this instance give a region that can be none.
            EnclaveError, TransportError, WireError: the peer on a unix socket did not describe itself.
        """
        client = self.new_client()
        with contextlib.ExitStack() as stack:
            stack.callback(client.close)
            if isinstance(client.address, UnixAddress) and self._has_peer_credentials(client):
                client.leave_credentials_to_peer()
            else:
                source = self.credential_source()
                source.current()  # fails here, before anything is connected
                region = self.region_source()
                region.known()  # so does this
                client.set_credentials(source, region)
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
    """Also the output format of the result, and the file that it goes to."""

    output: str
    out: str | None

    @property
    def output_format(self) -> OutputFormat:
        """The value of ``--output``."""
        return OutputFormat(self.output)


class KeySettings(Settings):
    """Which KMS key to use, and with which encryption context."""

    key_id: str | None
    encryption_context: tuple[tuple[str, str], ...]


class GrantSettings(Settings):
    """Tokens of the grants that allow the request, and whether KMS only says if it would perform it."""

    grant_tokens: tuple[str, ...]
    dry_run: bool
