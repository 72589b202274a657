"""Settings classes for the options that commands share, one for each group of options.

The settings of a command inherit the classes of the groups that it has, and no others.
"""

from __future__ import annotations

import contextlib
import functools
import os

from instance_tool.client.client import EnclaveClient
from instance_tool.configuration.config_file import read_config
from instance_tool.configuration.enclave_choice import GivenEnclave, choose_enclave
from instance_tool.console.output import OutputFormat
from instance_tool.credentials.find import find_credentials
from instance_tool.credentials.found import FoundCredentials
from instance_tool.credentials.region import PROFILE_VARIABLES, Region, RegionSource
from instance_tool.credentials.source import CredentialSource
from instance_tool.errors import EnclaveError
from vsock_wire.cli.program import runs_under_c_name
from vsock_wire.cli.settings import Settings
from vsock_wire.errors import InputError, quoted
from vsock_wire.net.address import Address, UnixAddress
from vsock_wire.protocol.messages import reply_text
from vsock_wire.protocol.vocabulary import CREDENTIALS_HELD, REGION

_CREDENTIAL_VARIABLES = ("AWS_ACCESS_KEY_ID", *PROFILE_VARIABLES)


class ConnectionSettings(Settings):
    """Which enclave to ask, how long to wait for it, and how much to log."""

    cid: int | None
    port: int
    enclave: str | None
    trusted_uids: tuple[int, ...]
    enclave_name: str | None
    timeout_s: float
    verbose: int
    quiet: bool
    log_format: str

    def enclave_address(self) -> Address:
        """Return the address of the enclave; what nitro-cli shows is looked up only once.

        Raises:
            InputError: as ``choose_enclave``.
        """
        return self._enclave_address

    @functools.cached_property
    def _enclave_address(self) -> Address:
        given = GivenEnclave(self.cid, self.enclave, self.enclave_name)
        return choose_enclave(given, os.environ, lambda: read_config(os.environ), port=self.port)

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
        return CredentialSource(self.find_credentials)

    def find_credentials(self) -> FoundCredentials:
        """Find credentials on this instance.

        Raises:
            CredentialsError: none were found.
        """
        return find_credentials(os.environ, profile=self._profile_to_use)

    def region_source(self) -> RegionSource:
        """Return a source of the region for an enclave that sets none."""
        if runs_under_c_name():  # kmstool sends what --region says, and looks nowhere else
            return RegionSource(self.region)
        return RegionSource(self.region, os.environ, configured=_configured_region, profile=self._profile_to_use)

    @property
    def _profile_to_use(self) -> str | None:
        """The profile of the option, or of the configuration file unless the environment says where to look."""
        if self.profile is not None or any(os.environ.get(variable) for variable in _CREDENTIAL_VARIABLES):
            return self.profile
        return _configured_text("profile")[0]

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
                source.current(wait_s=self.timeout_s)  # fails here, before anything is connected
                region = self.region_source()
                if region.is_required:
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


class GrantTokenSettings(Settings):
    """Tokens of the grants that allow the request."""

    grant_tokens: tuple[str, ...]


class GrantSettings(GrantTokenSettings):
    """Also whether KMS only says if it would perform the request."""

    dry_run: bool


def _configured_region() -> Region | None:
    name, origin = _configured_text("region")
    return None if name is None else Region(name, origin)


def _configured_text(key: str) -> tuple[str | None, str]:
    """Return a text of the configuration file, and the file's path; None if there is no such file or text."""
    config = read_config(os.environ)
    value = None if config is None else config.values.get(key)
    if config is None or value is None:
        return None, ""
    if not isinstance(value, str):
        raise InputError(f"{config.path}: {key}: expected text")
    return value, str(config.path)
