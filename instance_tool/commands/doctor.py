"""The command that checks every hop between this instance and KMS."""

from __future__ import annotations

import json
import sys

import click

from instance_tool.console.kms_requests import ciphertext_argument, kms_request, with_ciphertext
from instance_tool.console.options import (
    ALGORITHM_OPTION,
    CREDENTIAL_OPTIONS,
    GRANT_TOKEN_OPTION,
    KEY_OPTIONS,
    REPORT_OUTPUT_OPTION,
    with_connection,
)
from instance_tool.console.output import ReportFormat
from instance_tool.console.settings import CredentialSettings, GrantTokenSettings, KeySettings
from instance_tool.hops.examination import Chain, examine
from vsock_wire.errors import ExitCode, InputError, printable, quoted
from vsock_wire.net.address import TcpAddress, parse_address
from vsock_wire.protocol.diagnosis import Hop, HopState
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.vocabulary import Operation

_WORDS = {HopState.OK: ("ok", "green"), HopState.FAILED: ("NOT OK", "red"), HopState.SKIPPED: ("-", None)}


class DoctorSettings(CredentialSettings, KeySettings, GrantTokenSettings):
    """The options of ``doctor``."""

    output: str
    encryption_algorithm: str | None
    ciphertext: str | None
    proxy_remote: str | None


@click.command()
@with_connection(
    DoctorSettings,
    *CREDENTIAL_OPTIONS,
    REPORT_OUTPUT_OPTION,
    *KEY_OPTIONS,
    ALGORITHM_OPTION,
    GRANT_TOKEN_OPTION,
    click.option(
        "--ciphertext", metavar="TEXT", help="Also decrypt this, file://PATH or -; never shows the plaintext."
    ),
    click.option(
        "--proxy-remote", metavar="HOST[:PORT]", help="Where the proxy connects to, if not to KMS in the region."
    ),
)
def doctor(settings: DoctorSettings) -> None:
    """Check every hop from this instance to KMS, and suggest fixes.

    This instance checks vsock, enclave, protocol, region, instance metadata and
    role. The enclave checks the Nitro Security Module, entropy, proxy, KMS, TLS
    and clock; nothing proves what it reports. With --ciphertext, doctor also
    has KMS decrypt, and explains a denial by the PCRs that KMS was shown.

    \b
    Examples:
      kmstool-instance doctor --cid 16 --region us-east-1
      kmstool-instance doctor --cid 16 --ciphertext - --output json < secret.b64

    Exit codes: 0 every hop works, 1 a hop failed, 2 usage error.
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    kms_address, request = _parse_remote(settings.proxy_remote), _decrypt_request(settings)
    hops = []
    with settings.new_client() as client:
        chain = Chain(
            client,
            settings.region_source(),
            settings.find_credentials,
            kms_address,
            request,
        )
        for hop in examine(chain):
            hops.append(hop)
            if settings.output == ReportFormat.TEXT:
                _print(hop)
    all_hold = all(hop.state is HopState.OK for hop in hops)
    if settings.output == ReportFormat.JSON:
        click.echo(json.dumps({"Ok": all_hold, "Hops": [hop.to_fields() for hop in hops]}, indent=2))
    sys.exit(ExitCode.DONE if all_hold else ExitCode.FAILED)


def _print(hop: Hop) -> None:
    word, color = _WORDS[hop.state]
    time = "" if hop.elapsed_ms is None else f" ({hop.elapsed_ms:,.0f} ms)"
    click.echo(f"{click.style(f'{word:6}', fg=color)}  {hop.name:8}  {printable(hop.detail)}{time}")
    if hop.hint is not None and hop.state is HopState.FAILED:
        click.echo(f"{'':6}  {'':8}  -> {printable(hop.hint)}")


def _parse_remote(text: str | None) -> TcpAddress | None:
    """Return the value of --proxy-remote as an address, or None without one."""
    if text is None:
        return None
    address = parse_address(f"tcp://{text}" if ":" in text else f"tcp://{text}:443")
    if not isinstance(address, TcpAddress):
        raise InputError(f"--proxy-remote: expected HOST[:PORT], got {quoted(text)}")
    return address


def _decrypt_request(settings: DoctorSettings) -> KmsRequest | None:
    """Return the Decrypt to perform, or None without --ciphertext."""
    if settings.ciphertext is None:
        values = {
            "--key-id": settings.key_id,
            "--encryption-context": settings.encryption_context,
            "--encryption-algorithm": settings.encryption_algorithm,
            "--grant-token": settings.grant_tokens,
        }
        given = [option for option, value in values.items() if value]
        if given:
            raise InputError(f"{' and '.join(given)} cannot be used without --ciphertext")
        return None
    template = kms_request(
        Operation.DECRYPT,
        key_id=settings.key_id,
        encryption_context=settings.encryption_context,
        encryption_algorithm=settings.encryption_algorithm,
        grants=settings,
    )
    return with_ciphertext(template, ciphertext_argument(settings.ciphertext))
