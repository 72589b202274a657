"""The command that has an enclave attest itself, and verifies what it says."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from instance_tool.commands.verify import parse_root, read_expected, verify_and_warn
from instance_tool.console.attestation_errors import attestation_errors_reported
from instance_tool.console.options import SHARED_OPTIONS, merged_options, parse_settings
from instance_tool.console.output import OutputFormat
from nitro_attestation.document.report import document_json, document_text
from vsock_wire.cli.shared_options import with_options
from vsock_wire.cli.values import parse_hex
from vsock_wire.protocol.attestation import MAX_ATTESTED_BYTES
from vsock_wire.protocol.json_codec import encode_base64
from vsock_wire.protocol.vocabulary import Operation

NONCE_BYTES = 32
"""Of a nonce chosen here: nobody guesses it, so no older document can hold it."""


@click.command()
@with_options(SHARED_OPTIONS)
@click.option("--nonce", metavar="HEX", help="What the document must hold; 32 random bytes if not given.")
@click.option("--user-data", metavar="HEX", help="Have the document hold this as well.")
@click.option("--expect", metavar="FILE", help="Measurements it must show, as nitro-cli build-enclave prints them.")
@click.option("--root", metavar="PEM", help="Trust this root certificate instead of AWS's.")
@click.option("--save", type=click.Path(path_type=Path), metavar="FILE", help="Keep the document, as CBOR.")
@click.pass_context
@attestation_errors_reported()
def attest(ctx: click.Context, /, **_options: Any) -> None:
    """Fetch a fresh attestation document, and verify it.

    Verified are the signature, the certificate chain up to AWS's root, the
    time, the nonce and, with --expect, the measurements. --output base64
    prints the document itself.

    \b
    Example:
      kmstool-instance attest --cid 16 --expect measurements.json
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    options = merged_options(ctx)
    settings = parse_settings(options)
    nonce, user_data = secrets.token_bytes(NONCE_BYTES), None
    if options["nonce"]:
        nonce = parse_hex("--nonce", options["nonce"], max_bytes=MAX_ATTESTED_BYTES)
    if options["user_data"]:
        user_data = parse_hex("--user-data", options["user_data"], max_bytes=MAX_ATTESTED_BYTES)
    root_sha256, expected = parse_root(options["root"]), read_expected(options["expect"])
    with settings.explaining(Operation.GET_ATTESTATION_DOCUMENT), settings.open_client() as client:
        document = client.fetch_attestation_document(nonce=nonce, user_data=user_data)
    verified = verify_and_warn(document, root_sha256=root_sha256, at=datetime.now(UTC), nonce=nonce, expected=expected)
    if options["save"] is not None:
        options["save"].write_bytes(document)
    match settings.output_format:
        case OutputFormat.JSON:
            click.echo(document_json(verified))
        case OutputFormat.BASE64:
            click.echo(encode_base64(document))
        case OutputFormat.RAW:
            click.echo(document_text(verified))
