"""Attestation documents as the commands verify them: what an option expects of one, and a warning for debug mode."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from instance_tool.console.reports import report_warning
from nitro_attestation.document.cose import AWS_NITRO_ROOT_SHA256, verify_document
from nitro_attestation.document.payload import AttestationDocument
from nitro_attestation.document.report import DEBUG_WARNING, VerifiedDocument
from nitro_attestation.errors import AttestationError
from nitro_attestation.measurements import MAX_MEASUREMENTS_BYTES, parse_measurements, verify_measurements
from vsock_wire.cli.settings import Settings
from vsock_wire.cli.streams import read_file
from vsock_wire.errors import InputError

MAX_ROOT_FILE_BYTES = 65_536
"""AWS's root certificate has less than 1,000 bytes as PEM text; comments around it are no harm."""
EXPECTATION_OPTIONS = (
    click.option("--expect", metavar="FILE", help="Measurements it must show, as nitro-cli build-enclave prints them."),
    click.option("--root", metavar="PEM", help="Trust this root certificate instead of AWS's."),
)
"""ExpectationSettings."""


class ExpectationSettings(Settings):
    """Paths of the files that say what to expect of a document."""

    expect: str | None
    root: str | None


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
