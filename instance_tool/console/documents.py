"""Attestation documents as the commands verify them: what options expect of one, and what is said where it fails."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import click

from instance_tool.console.reports import report_warning
from nitro_attestation.document.certificates import AWS_NITRO_ROOT_SHA256, root_fingerprint
from nitro_attestation.document.cose import parse_unverified_document
from nitro_attestation.document.payload import AttestationDocument
from nitro_attestation.document.report import DEBUG_WARNING, VerifiedDocument
from nitro_attestation.document.times import duration_text, moment_text
from nitro_attestation.errors import AttestationError, VerificationStep
from nitro_attestation.measurements import MAX_MEASUREMENTS_BYTES, parse_measurements, parse_pcr_options
from nitro_attestation.verification import DEFAULT_LEEWAY, verify_document
from vsock_wire.cli.settings import Settings
from vsock_wire.cli.streams import STANDARD_INPUT, read_file
from vsock_wire.cli.values import parse_hex, parse_seconds
from vsock_wire.errors import InputError
from vsock_wire.protocol.attestation import MAX_ATTESTED_BYTES
from vsock_wire.protocol.delivery import names_key_of_caller, split_delivery_line

MAX_ROOT_FILE_BYTES = 65_536
"""AWS's root certificate has less than 1,000 bytes as PEM text; comments around it are no harm."""
MAX_KEY_FILE_BYTES = 65_536
"""A key of 1,024 bytes is shorter as PEM text; comments around it are no harm."""
KEY_WARNING = (
    "the public key is not the enclave's own: a caller gave it, and the enclave says so; encrypt to it only if you"
    " know who has its private key"
)
KEY_HINT = "something between here and the enclave put a key into the request"
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----\s(.*?)-----END PUBLIC KEY-----", re.DOTALL)

EXPECTATION_OPTIONS = (
    click.option("--expect", metavar="FILE", help="Measurements it must show, as nitro-cli build-enclave prints them."),
    click.option("--pcr", multiple=True, metavar="N=HEX", help="Measurement it must show; repeatable."),
    click.option(
        "--max-age", "max_age_s", type=parse_seconds, metavar="SECONDS", help="How long ago it may have been made."
    ),
    click.option(
        "--leeway", "leeway_s", type=parse_seconds, metavar="SECONDS",
        help="How much this clock may be slow.  [default: "
        f"{DEFAULT_LEEWAY.total_seconds():.0f}]",
    ),
    click.option("--root", metavar="FILE", help="Trust this root certificate, in PEM or DER, instead of AWS's."),
)  # fmt: skip
"""ExpectationSettings."""


@dataclass(frozen=True)
class Expectations:
    """What a document must be and hold; what is None is not compared.

    Attributes:
        root_sha256: of the root certificate that is trusted.
        at: when the certificates must be valid; None for the document's own time.
        is_at_present: whether that is the present time, by this machine's clock.
        has_time_option: whether the command has --at, so that a hint can name it.
        leeway: how much that clock may be slow.
        max_age: how long ago it may have been made.
        pcrs: measurements by PCR; empty to leave them unchecked.
        nonce: what it must hold.
        user_data: what it must hold, without the line that kmstool-enclave puts in front.
        is_user_data_bare: whether that line must be absent.
        public_key: what it must hold; PEM text stands for the DER in it as well.
        is_own_key: whether the key must be the enclave's own, as far as its line says.
    """

    root_sha256: bytes
    at: datetime | None
    is_at_present: bool
    has_time_option: bool
    leeway: timedelta
    max_age: timedelta | None
    pcrs: Mapping[int, bytes] = field(default_factory=dict)
    nonce: bytes | None = None
    user_data: bytes | None = None
    is_user_data_bare: bool = False
    public_key: bytes | None = None
    is_own_key: bool = False


class ExpectationSettings(Settings):
    """What the options say that is to be expected of a document."""

    expect: str | None
    pcr: tuple[str, ...]
    max_age_s: float | None
    leeway_s: float | None
    root: str | None

    def check_standard_input(self, **more: str | None) -> None:
        """Refuse to read two files from standard input.

        Args:
            more: further paths, by how an error names them.

        Raises:
            InputError: two are to be read from there.
        """
        paths = {**more, "--expect": self.expect, "--root": self.root}
        first, *others = [name for name, path in paths.items() if path == STANDARD_INPUT] or [""]
        if others:
            raise InputError(f"{first} and {others[0]}: only one of them can be standard input")

    def expectations(self, *, at: datetime | None, is_at_present: bool, has_time_option: bool) -> Expectations:
        """Return what these options expect of a document, without what it must hold.

        Args:
            at: when the certificates must be valid; None for the document's own time.
            is_at_present: whether that is the present time.
            has_time_option: whether the command has --at.

        Raises:
            InputError: an option has no possible value, or makes no sense with the document's own time.
            MeasurementError: a file or an option has no measurements.
            OSError: a file cannot be read.
        """
        if at is None and (self.max_age_s is not None or self.leeway_s is not None):
            option = "--leeway" if self.max_age_s is None else "--max-age"
            raise InputError(f"{option} cannot be used with --at document, which takes the document's own time")
        leeway = DEFAULT_LEEWAY if is_at_present else timedelta(0)
        return Expectations(
            root_sha256=parse_root(self.root),
            at=at,
            is_at_present=is_at_present,
            has_time_option=has_time_option,
            leeway=leeway if self.leeway_s is None else timedelta(seconds=self.leeway_s),
            max_age=None if self.max_age_s is None else timedelta(seconds=self.max_age_s),
            pcrs=_pcrs(self.expect, self.pcr),
        )


def parse_root(path: str | None) -> bytes:
    """Return the SHA-256 of the one certificate in a file; without a file, of AWS's root.

    Raises:
        InputError: the file does not hold one certificate.
        OSError: it cannot be read.
    """
    if path is None:
        return AWS_NITRO_ROOT_SHA256
    try:
        return root_fingerprint(read_file(path, "--root", max_bytes=MAX_ROOT_FILE_BYTES))
    except ValueError as error:
        raise InputError(f"--root: {error}") from None


def parse_attested(option: str, text: str | None) -> bytes | None:
    """Return the bytes that an option gives in hexadecimal for a document to hold; None without the option.

    Raises:
        InputError: it is no such text, or stands for more bytes than a document holds.
    """
    return None if text is None else parse_hex(option, text, max_bytes=MAX_ATTESTED_BYTES)


def read_public_key(path: str | None) -> bytes | None:
    """Return what a file says that a document is to hold as public key: any bytes; None without a file.

    Raises:
        InputError: it is longer than a document takes.
        OSError: it cannot be read.
    """
    if path is None:
        return None
    key = read_file(path, "--public-key", max_bytes=MAX_KEY_FILE_BYTES)
    if len(der_of_pem(key)) > MAX_ATTESTED_BYTES:
        raise InputError(f"--public-key: expected at most {MAX_ATTESTED_BYTES} bytes, got {len(der_of_pem(key))}")
    return key


def der_of_pem(key: bytes) -> bytes:
    """Return the DER of a public key in PEM text; any other bytes as they are."""
    match = _PEM.search(key)
    if match is None:
        return key
    try:
        return base64.b64decode(b"".join(match[1].split()), validate=True)
    except ValueError:
        return key


def verify_and_warn(document: bytes, expected: Expectations) -> VerifiedDocument:
    """Verify a document against everything that is expected of it; of debug mode, warn on standard error.

    Args:
        document: as the NSM made it.
        expected: of it.

    Raises:
        AttestationError: it does not verify, or is not what is expected.
    """
    claimed = parse_unverified_document(document)
    try:
        fields = _verify(document, claimed, expected)
    except AttestationError as error:
        is_genuine = error.step is not None and error.step > VerificationStep.NONCE
        if is_genuine and claimed.is_debug:
            report_warning(DEBUG_WARNING)
        raise
    if fields.is_debug:
        report_warning(DEBUG_WARNING)
    if expected.public_key is None and names_key_of_caller(fields.user_data or b""):
        if expected.is_own_key:
            raise AttestationError("public_key", "expected the enclave's own key, got one of a caller", hint=KEY_HINT)
        report_warning(KEY_WARNING)
    return VerifiedDocument(
        fields,
        root_sha256=expected.root_sha256,
        judged_at=fields.issued_at if expected.at is None else expected.at,
        is_nonce_checked=expected.nonce is not None,
        is_user_data_checked=expected.user_data is not None,
        is_public_key_checked=expected.public_key is not None,
        max_age=expected.max_age,
        compared_pcrs=tuple(sorted(expected.pcrs)),
    )


def _verify(document: bytes, claimed: AttestationDocument, expected: Expectations) -> AttestationDocument:
    """Verify it; where only the time stands in the way, say so in the hint."""
    try:
        return verify_document(
            document,
            at=expected.at,
            leeway=expected.leeway,
            max_age=expected.max_age,
            nonce=expected.nonce,
            user_data=_user_data(expected, claimed.user_data),
            public_key=_public_key(expected, claimed.public_key_der),
            pcrs=expected.pcrs or None,
            allow_debug=True,
            root=expected.root_sha256,
        )
    except AttestationError as error:
        if error.hint is None or error.slow_by is not None:
            error.hint = _time_hint(error, document, expected)
        raise


def _user_data(expected: Expectations, claimed: bytes | None) -> bytes | None:
    """Return the user data to expect: what is asked for, behind the enclave's own line if the document has one."""
    if expected.user_data is None or expected.is_user_data_bare or claimed in (None, expected.user_data):
        return expected.user_data
    line, _ = split_delivery_line(claimed or b"")
    fits = len(line) + len(expected.user_data) <= MAX_ATTESTED_BYTES
    return line + expected.user_data if fits else expected.user_data


def _public_key(expected: Expectations, claimed: bytes | None) -> bytes | None:
    """Return the public key to expect: the one of the document if it is the same key, in PEM or in DER."""
    if expected.public_key is None or claimed is None:
        return expected.public_key
    key = der_of_pem(expected.public_key)
    return claimed if der_of_pem(claimed) == key else key


def _pcrs(path: str | None, options: tuple[str, ...]) -> Mapping[int, bytes]:
    given = parse_pcr_options(options)
    if path is None:
        return given
    measured = parse_measurements(read_file(path, "measurements", max_bytes=MAX_MEASUREMENTS_BYTES))
    for index in sorted(measured.keys() & given.keys()):
        if measured[index] != given[index]:
            raise InputError(f"--pcr {index}: expected what --expect says, got another value")
    return {**measured, **given}


def _time_hint(error: AttestationError, document: bytes, expected: Expectations) -> str | None:
    """Return what to say about the time, if the document was in order when it was made."""
    made_at = _made_at(document, expected)
    if made_at is None or expected.at is None:
        return error.hint if expected.is_at_present else None
    if expected.is_at_present and made_at > expected.at:
        slow_by = duration_text(made_at - expected.at)
        return f"this clock seems to be slow by {slow_by}: set it, or allow for that with --leeway"
    if expected.has_time_option:
        made = moment_text(made_at)
        return f"it was in order when it was made, by its own word at {made}: --at document judges it then"
    ago = duration_text(expected.at - made_at)
    return f"it was made {ago} ago by this clock: the clock is fast, or the enclave sent an old document"


def _made_at(document: bytes, expected: Expectations) -> datetime | None:
    try:
        return verify_document(document, root=expected.root_sha256, allow_debug=True).issued_at
    except AttestationError:
        return None
