"""The command that looks at every hop to KMS and back."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from instance_tool.console.kms_requests import ciphertext_argument, kms_request, with_ciphertext
from instance_tool.console.options import CONTEXT_OPTIONS, SHARED_OPTIONS, merged_options, parse_settings
from instance_tool.console.output import OutputFormat
from instance_tool.credentials.find import find_credentials
from instance_tool.hops.examination import Chain, examine
from vsock_wire.cli.shared_options import ENCRYPTION_ALGORITHM, with_options
from vsock_wire.errors import ExitCode, InputError, printable, quoted
from vsock_wire.net.address import TcpAddress, parse_address
from vsock_wire.protocol.diagnosis import Hop, HopState
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.vocabulary import Operation

NO_COLOR = "NO_COLOR"
"""Source: no-color.org: set and not empty, no colour is wanted."""
_WORDS = {HopState.OK: ("ok", "green"), HopState.FAILED: ("NOT OK", "red"), HopState.SKIPPED: ("-", None)}


@click.command()
@with_options(SHARED_OPTIONS, CONTEXT_OPTIONS)
@ENCRYPTION_ALGORITHM.declare(click.option)
@click.option("--ciphertext", metavar="TEXT", help="Try to decrypt this, or standard input for -; shows nothing of it.")
@click.option("--proxy-remote", metavar="HOST[:PORT]", help="Where the proxy leads, if not to the region's own KMS.")
@click.pass_context
def doctor(ctx: click.Context, /, **_options: Any) -> None:
    """Look at every hop between this instance and KMS, and say what to do.

    vsock, enclave, protocol and region are seen from here; the Nitro Security
    Module, entropy, proxy, KMS, TLS and clock by the enclave, whose word it is;
    instance metadata and role from here again. With --ciphertext, KMS is asked
    to decrypt, and its answer read against the PCRs it was shown.

    \b
    Examples:
      kmstool-instance doctor --cid 16 --region us-east-1
      kmstool-instance doctor --cid 16 --ciphertext - --output json < secret.b64

    Exit codes: 0 every hop holds, 1 one does not, 2 usage.
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    if os.environ.get(NO_COLOR):
        ctx.color = False
    options = merged_options(ctx)
    settings = parse_settings(options)
    if settings.is_explained:
        raise InputError("--explain: expected none, because doctor tells of its steps itself, got it")
    hops = []
    with settings.open_client() as client:
        chain = Chain(
            client,
            settings.region,
            lambda: find_credentials(os.environ, profile=settings.profile),
            _parse_remote(options["proxy_remote"]),
            _decrypt_request(options),
        )
        for hop in examine(chain):
            hops.append(hop)
            if settings.output_format is not OutputFormat.JSON:
                _print(hop)
    all_hold = all(hop.state is HopState.OK for hop in hops)
    if settings.output_format is OutputFormat.JSON:
        click.echo(json.dumps({"Ok": all_hold, "Hops": [hop.to_fields() for hop in hops]}, indent=2))
    sys.exit(ExitCode.DONE if all_hold else ExitCode.FAILED)


def _print(hop: Hop) -> None:
    word, colour = _WORDS[hop.state]
    time = "" if hop.elapsed_ms is None else f" ({hop.elapsed_ms:,.0f} ms)"
    click.echo(f"{click.style(f'{word:6}', fg=colour)}  {hop.name:8}  {printable(hop.detail)}{time}")
    if hop.hint is not None and hop.state is HopState.FAILED:
        click.echo(f"{'':6}  {'':8}  -> {printable(hop.hint)}")


def _parse_remote(text: str | None) -> TcpAddress | None:
    """Return where the proxy leads, or None where that is not said."""
    if text is None:
        return None
    address = parse_address(f"tcp://{text}" if ":" in text else f"tcp://{text}:443")
    if not isinstance(address, TcpAddress):
        raise InputError(f"--proxy-remote: expected HOST[:PORT], got {quoted(text)}")
    return address


def _decrypt_request(options: dict[str, Any]) -> KmsRequest | None:
    """Return the Decrypt to try, or None where none is asked for."""
    if options["ciphertext"] is None:
        if options["encryption_context"] or options["key_id"] or options["encryption_algorithm"]:
            raise InputError("--ciphertext: expected one beside the options of a decrypt, got none")
        return None
    ciphertext = ciphertext_argument(options["ciphertext"])
    return with_ciphertext(kms_request(Operation.DECRYPT, options), ciphertext)
