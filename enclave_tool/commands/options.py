"""Options that the enclave's command lines share, and their settings.

A command takes one settings object instead of each option: see ``vsock_wire.cli.settings``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from enclave_tool.kms.options import PROXY_PORT, KmsOptions, parse_endpoint_host, parse_region_name
from enclave_tool.nsm.device import NSM_DEVICE, parse_nsm_location
from vsock_wire.errors import InputError
from vsock_wire.net.address import CID_PARENT, Address, UnixAddress, VsockAddress, parse_address, vsock_address

_NON_VSOCK_HINT = "pass --allow-non-vsock to run without Nitro hardware; never in an image that KMS policies trust"

_NSM_OPTION = click.option(
    "--nsm", default=NSM_DEVICE, show_default=True, metavar="PATH", help="Nitro Security Module device."
)
_NON_VSOCK_OPTION = click.option(
    "--allow-non-vsock", is_flag=True, help="Accept unix: and tcp:// addresses, to run without Nitro."
)
NSM_OPTIONS = (_NSM_OPTION, _NON_VSOCK_OPTION)
"""Options of a command that uses only the module; read as NsmSettings."""
KMS_OPTIONS = (
    click.option(
        "-x", "--proxy-port", envvar="PROXY_PORT", show_envvar=True, type=int, metavar="PORT", default=PROXY_PORT,
        show_default=True, help="vsock port of vsock-proxy.",
    ),
    click.option(
        "--parent-cid", type=int, metavar="CID", default=CID_PARENT, show_default=True, help="CID of vsock-proxy."
    ),
    click.option(
        "--endpoint", envvar="ENDPOINT", show_envvar=True, metavar="HOST",
        help="KMS host, if not the region's usual one.",
    ),
    click.option(
        "--allow-region", "allow_regions", multiple=True, metavar="REGION",
        help="Also accept this region, if this program is too old to know it; repeatable.",
    ),
    click.option(
        "--ca-file", type=click.Path(exists=True, dir_okay=False),
        help="PEM bundle of the authorities trusted to identify KMS.",
    ),
    _NSM_OPTION,
    click.option(
        "--proxy-connect", is_flag=True,
        help="Name each host to the proxy by HTTP CONNECT; the proxy's route must have connect: true.",
    ),
    click.option("--proxy", metavar="ADDRESS", help="Dial this address instead of --parent-cid and --proxy-port."),
    _NON_VSOCK_OPTION,
)  # fmt: skip
"""Options of a command that calls KMS; read as KmsSettings."""
CREDENTIAL_OPTIONS = (
    click.option("-k", "--aws-access-key-id", metavar="ID", help="AWS access key ID; safer in the environment."),
    click.option(
        "-s", "--aws-secret-access-key", metavar="KEY", help="AWS secret access key; other processes can read it."
    ),
    click.option("-t", "--aws-session-token", metavar="TOKEN", help="AWS session token, if there is one."),
    click.option(
        "--credentials-fd", type=click.IntRange(0), metavar="N",
        help="File descriptor to read credentials from, as JSON of IMDS or the aws command.",
    ),
)  # fmt: skip
"""Options for AWS credentials; read as ``commands.credentials.CredentialSettings``."""


@dataclass(frozen=True)
class NsmSettings:
    """The values of NSM_OPTIONS."""

    nsm: str
    allow_non_vsock: bool

    def nsm_location(self) -> Path | UnixAddress:
        """Return where the Nitro Security Module is.

        Raises:
            InputError: --nsm is malformed, or needs --allow-non-vsock.
        """
        location = parse_nsm_location(self.nsm, subject="--nsm")
        if isinstance(location, UnixAddress) and not self.allow_non_vsock:
            raise InputError(f"--nsm: expected a device, got {location}", hint=_NON_VSOCK_HINT)
        return location


@dataclass(frozen=True)
class KmsSettings(NsmSettings):
    """The values of KMS_OPTIONS."""

    proxy_port: int
    parent_cid: int
    endpoint: str | None
    allow_regions: tuple[str, ...]
    ca_file: str | None
    proxy: str | None
    proxy_connect: bool

    def kms_options(self) -> KmsOptions:
        """Return how to reach KMS.

        Raises:
            InputError: an address, host name or region is malformed, or an address needs --allow-non-vsock.
        """
        proxy = parse_address(self.proxy) if self.proxy else vsock_address(self.parent_cid, self.proxy_port)
        endpoint_host = parse_endpoint_host(self.endpoint, subject="--endpoint") if self.endpoint else None
        self.check_address("--proxy", proxy)
        allowed = tuple(parse_region_name(region, subject="--allow-region") for region in self.allow_regions)
        return KmsOptions(
            proxy=proxy,
            proxy_connect=self.proxy_connect,
            endpoint_host=endpoint_host,
            ca_file=self.ca_file,
            allowed_regions=allowed,
        )

    def check_address(self, flag: str, address: Address) -> None:
        """Check that an address is a vsock address, unless --allow-non-vsock is given.

        An image is measured together with its command line, but its environment may come from elsewhere. Nothing in the
        environment can redirect the enclave's traffic to another kind of socket.

        Raises:
            InputError: the address is not a vsock address.
        """
        if not isinstance(address, VsockAddress) and not self.allow_non_vsock:
            raise InputError(f"{flag}: expected a vsock address, got {address}", hint=_NON_VSOCK_HINT)
