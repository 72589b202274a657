"""The command that has an enclave attest itself, and verifies what it says."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path

import click

from instance_tool.console.documents import (
    EXPECTATION_OPTIONS,
    ExpectationSettings,
    parse_root,
    read_expected,
    verify_and_warn,
)
from instance_tool.console.options import EXPLAIN_OPTION, OUTPUT_OPTION, with_connection
from instance_tool.console.output import OutputFormat
from instance_tool.console.perform import explaining
from instance_tool.console.reports import attestation_errors_reported
from instance_tool.console.settings import ConnectionSettings
from nitro_attestation.document.report import document_json, document_text
from vsock_wire.cli.values import parse_hex
from vsock_wire.protocol.attestation import MAX_ATTESTED_BYTES
from vsock_wire.protocol.json_codec import encode_base64
from vsock_wire.protocol.vocabulary import Operation

NONCE_BYTES = 32
"""Of a nonce chosen here: nobody guesses it, so no older document can hold it."""


class AttestSettings(ConnectionSettings, ExpectationSettings):
    """What the options of ``attest`` say."""

    output: str
    explain: bool
    nonce: str | None
    user_data: str | None
    save: Path | None


@click.command()
@with_connection(
    AttestSettings,
    OUTPUT_OPTION,
    EXPLAIN_OPTION,
    click.option("--nonce", metavar="HEX", help="What the document must hold; 32 random bytes if not given."),
    click.option("--user-data", metavar="HEX", help="Have the document hold this as well."),
    *EXPECTATION_OPTIONS,
    click.option("--save", type=click.Path(path_type=Path), metavar="FILE", help="Keep the document, as CBOR."),
)
@attestation_errors_reported()
def attest(settings: AttestSettings) -> None:
    """Fetch a fresh attestation document, and verify it.

    Verified are the signature, the certificate chain up to AWS's root, the
    time, the nonce and, with --expect, the measurements. --output base64
    prints the document itself.

    \b
    Example:
      kmstool-instance attest --cid 16 --expect measurements.json
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    nonce, user_data = secrets.token_bytes(NONCE_BYTES), None
    if settings.nonce:
        nonce = parse_hex("--nonce", settings.nonce, max_bytes=MAX_ATTESTED_BYTES)
    if settings.user_data:
        user_data = parse_hex("--user-data", settings.user_data, max_bytes=MAX_ATTESTED_BYTES)
    root_sha256, expected = parse_root(settings.root), read_expected(settings.expect)
    with explaining(Operation.GET_ATTESTATION_DOCUMENT, is_wanted=settings.explain), settings.new_client() as client:
        document = client.fetch_attestation_document(nonce=nonce, user_data=user_data)
    verified = verify_and_warn(document, root_sha256=root_sha256, at=datetime.now(UTC), nonce=nonce, expected=expected)
    if settings.save is not None:
        settings.save.write_bytes(document)
    match OutputFormat(settings.output):
        case OutputFormat.JSON:
            click.echo(document_json(verified))
        case OutputFormat.BASE64:
            click.echo(encode_base64(document))
        case OutputFormat.RAW:
            click.echo(document_text(verified))
