"""The command that verifies a stored attestation document."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from instance_tool.console.attestation_errors import attestation_errors_reported
from instance_tool.console.offline import OUTPUT_OPTION, is_json_wanted, report_warning
from nitro_attestation.document.cose import AWS_NITRO_ROOT_SHA256, verify_document
from nitro_attestation.document.file_format import MAX_DOCUMENT_FILE_BYTES, decode_document_file
from nitro_attestation.document.payload import AttestationDocument
from nitro_attestation.document.report import DEBUG_WARNING, VerifiedDocument, document_json, document_text
from nitro_attestation.errors import AttestationError
from nitro_attestation.measurements import MAX_MEASUREMENTS_BYTES, parse_measurements, verify_measurements
from vsock_wire.cli.shared_options import with_options
from vsock_wire.cli.streams import STANDARD_INPUT, read_file
from vsock_wire.cli.values import parse_hex
from vsock_wire.errors import InputError, quoted
from vsock_wire.protocol.attestation import MAX_ATTESTED_BYTES

NOW = "now"
DOCUMENT_TIME = "document"
MAX_ROOT_FILE_BYTES = 65_536
"""AWS's root certificate has less than 1,000 bytes as PEM text; comments around it are no harm."""


@click.command()
@click.argument("file", metavar="FILE")
@click.option(
    "--at",
    default=NOW,
    show_default=True,
    metavar="now|document|TIME",
    help="When the certificates must be valid; TIME as 2025-06-01T12:00:00Z.",
)
@click.option("--expect", metavar="FILE", help="Measurements it must show, as nitro-cli build-enclave prints them.")
@click.option("--root", metavar="PEM", help="Trust this root certificate instead of AWS's.")
@click.option("--nonce", metavar="HEX", help="The nonce it must hold.")
@with_options((OUTPUT_OPTION,))
@click.pass_context
@attestation_errors_reported()
def verify(ctx: click.Context, /, **options: Any) -> None:
    """Verify a stored attestation document.

    FILE holds it as CBOR or as base64 text; - reads standard input.

    The certificate that signs it is valid for about three hours: for an older
    one, --at document takes its own word for when it was made. That, and a
    document without the nonce one has chosen, says nothing of how fresh it is.
    Without --expect nothing is said of which image the enclave runs.

    \b
    Examples:
      kmstool-instance verify document.cbor --expect measurements.json
      kmstool-instance verify --at document --output json archived.b64

    Exit codes: 0 verified, 1 not, 2 usage.
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    if options["file"] == options["expect"] == STANDARD_INPUT:
        raise InputError("FILE and --expect: expected standard input for one of them, got it for both")
    expected = read_expected(options["expect"])
    root_sha256 = parse_root(options["root"])
    nonce = None if options["nonce"] is None else parse_hex("--nonce", options["nonce"], max_bytes=MAX_ATTESTED_BYTES)
    at = _parse_at(options["at"])
    document = decode_document_file(read_file(options["file"], "document", max_bytes=MAX_DOCUMENT_FILE_BYTES))
    verified = verify_and_warn(document, root_sha256=root_sha256, at=at, nonce=nonce, expected=expected)
    click.echo(document_json(verified) if is_json_wanted(ctx) else document_text(verified))


def verify_and_warn(
    document: bytes, *, root_sha256: bytes, at: datetime | None, nonce: bytes | None, expected: Mapping[int, bytes]
) -> VerifiedDocument:
    """Verify a document against everything that is expected of it; of debug mode, warn on standard error.

    Args:
        document: as the NSM made it.
        root_sha256: of the root certificate that is trusted.
        at: when the certificates must be valid; None for the document's own time.
        nonce: what it must hold, or None to leave it unchecked.
        expected: measurements by PCR; empty to leave them unchecked.

    Raises:
        AttestationError: it does not verify.
        MeasurementError: a measurement is another one.
    """
    fields = _verify(document, root_sha256=root_sha256, at=at, nonce=nonce)
    if fields.is_debug:
        report_warning(DEBUG_WARNING)
    verify_measurements(fields, expected)
    return VerifiedDocument(
        fields,
        root_sha256=root_sha256,
        judged_at=fields.issued_at if at is None else at,
        is_nonce_checked=nonce is not None,
        compared_pcrs=tuple(sorted(expected)),
    )


def _verify(document: bytes, *, root_sha256: bytes, at: datetime | None, nonce: bytes | None) -> AttestationDocument:
    """Verify it; where only the time stands in the way, say so in the hint."""
    try:
        return verify_document(document, root_sha256=root_sha256, at=at, nonce=nonce)
    except AttestationError as error:
        if error.hint is None and at is not None:
            error.hint = _time_hint(document, root_sha256)
        raise


def _time_hint(document: bytes, root_sha256: bytes) -> str | None:
    try:
        made_at = verify_document(document, root_sha256=root_sha256).issued_at
    except AttestationError:
        return None
    return (
        f"it was in order when it was made, by its own word at {made_at.isoformat(timespec='seconds')}: --at document"
        " judges it then"
    )


def read_expected(path: str | None) -> Mapping[int, bytes]:
    """Return the measurements in a file of nitro-cli's, or none without a file.

    Raises:
        MeasurementError: it holds no measurements.
        OSError: it cannot be read.
    """
    if path is None:
        return {}
    return parse_measurements(read_file(path, "measurements", max_bytes=MAX_MEASUREMENTS_BYTES))


def parse_root(path: str | None) -> bytes:
    """Return the SHA-256 of the one certificate in a PEM file; without a file, of AWS's root.

    Raises:
        InputError: the file does not hold one certificate.
        OSError: it cannot be read.
    """
    if path is None:
        return AWS_NITRO_ROOT_SHA256
    pem = read_file(path, "--root", max_bytes=MAX_ROOT_FILE_BYTES)
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise InputError("--root: expected a certificate as PEM text, got something else") from None
    if len(certificates) != 1:
        raise InputError(f"--root: expected one certificate, got {len(certificates)}")
    return certificates[0].fingerprint(hashes.SHA256())


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
            f"--at: expected now, document, or an ISO 8601 time with its zone, got {quoted(text)}",
            hint="such as 2025-06-01T12:00:00Z",
        )
    return moment
