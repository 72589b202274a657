"""The command that verifies a stored attestation document."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import click

from instance_tool.console.documents import verify_and_warn
from instance_tool.console.expectations import (
    EXPECTATION_OPTIONS,
    ExpectationSettings,
    parse_attested,
    read_public_key,
)
from instance_tool.console.options import REPORT_OUTPUT_OPTION, option_once
from instance_tool.console.output import ReportFormat
from instance_tool.console.reports import attestation_errors_reported
from nitro_attestation.document.file_format import MAX_DOCUMENT_FILE_BYTES, decode_document_file
from nitro_attestation.document.report import document_json, document_text
from vsock_wire.cli.settings import with_settings
from vsock_wire.cli.streams import read_file
from vsock_wire.errors import InputError, quoted

NOW = "now"
DOCUMENT_TIME = "document"


class VerifySettings(ExpectationSettings):
    """The options of ``verify``."""

    file: str
    at: str
    nonce: str | None
    user_data: str | None
    public_key: str | None
    output: str


@click.command()
@with_settings(
    VerifySettings,
    click.argument("file", metavar="FILE"),
    option_once(
        "--at", default=NOW, show_default=True, metavar="now|document|TIME",
        help="When the certificates must be valid; TIME as 2025-06-01T12:00:00Z.",
    ),
    *EXPECTATION_OPTIONS,
    option_once("--nonce", metavar="HEX", help="Expected nonce."),
    option_once("--user-data", metavar="HEX", help="Expected user data, without the enclave's own line."),
    option_once("--public-key", metavar="FILE", help="Expected public key, in DER or PEM, or any bytes."),
    REPORT_OUTPUT_OPTION,
)  # fmt: skip
@attestation_errors_reported()
def verify(settings: VerifySettings) -> None:
    """Verify a stored attestation document.

    FILE contains CBOR, hexadecimal or base64 text; - reads standard input.

    The signing certificate is valid for about three hours. For an older
    document, --at document uses the document's own timestamp, which proves
    nothing about its age; neither does a document without --nonce. Without
    --expect or --pcr, nothing proves which image the enclave runs.

    Exit codes: 0 verified, 1 not verified, 2 usage error.

    \b
    Examples:
      kmstool-instance verify document.cbor --expect measurements.json
      kmstool-instance verify --at document --output json archived.b64
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    settings.check_standard_input(**{"FILE": settings.file, "--public-key": settings.public_key})
    expected = replace(
        settings.expectations(at=_parse_at(settings.at), is_at_present=settings.at == NOW, has_time_option=True),
        nonce=parse_attested("--nonce", settings.nonce),
        user_data=parse_attested("--user-data", settings.user_data),
        public_key=read_public_key(settings.public_key),
    )
    document = decode_document_file(read_file(settings.file, "document", max_bytes=MAX_DOCUMENT_FILE_BYTES))
    verified = verify_and_warn(document, expected)
    click.echo(document_json(verified) if settings.output == ReportFormat.JSON else document_text(verified))


def _parse_at(text: str) -> datetime | None:
    """Return when the certificates are to be valid; None for the document's own time."""
    if text == NOW:
        return datetime.now(UTC)
    return None if text == DOCUMENT_TIME else parse_time(text)


def parse_time(text: str) -> datetime:
    """Return the moment an ISO 8601 text names.

    Raises:
        InputError: it is no such text, or names no time zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.utcoffset() is None:
        raise InputError(
            f"--at: expected now, document, or an ISO 8601 time with a time zone, got {quoted(text)}",
            hint="such as 2025-06-01T12:00:00Z",
        )
    return moment
