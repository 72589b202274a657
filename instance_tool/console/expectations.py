"""What the options of ``attest`` and ``verify`` expect of an attestation document."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import click

from instance_tool.console.options import option_once
from nitro_attestation.document.certificates import AWS_NITRO_ROOT_SHA256, root_fingerprint
from nitro_attestation.measurements import MAX_MEASUREMENTS_BYTES, parse_measurements, parse_pcr_options
from nitro_attestation.verification import DEFAULT_LEEWAY
from vsock_wire.cli.settings import Settings
from vsock_wire.cli.streams import STANDARD_INPUT, read_file
from vsock_wire.cli.values import parse_hex, parse_seconds
from vsock_wire.errors import InputError
from vsock_wire.protocol.attestation import MAX_ATTESTED_BYTES

MAX_ROOT_FILE_BYTES = 65_536
"""AWS's root certificate has less than 1,000 bytes as PEM text; comments around it are no harm."""
MAX_KEY_FILE_BYTES = 65_536
"""A key of 1,024 bytes is shorter as PEM text; comments around it are no harm."""
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----\s(.*?)-----END PUBLIC KEY-----", re.DOTALL)

EXPECTATION_OPTIONS = (
    click.option(
        "--expect", multiple=True, metavar="FILE",
        help="Output of nitro-cli build-enclave to compare with; if repeated, one file must match.",
    ),
    click.option("--pcr", multiple=True, metavar="N=HEX", help="Expected measurement; repeatable."),
    option_once(
        "--max-age", "max_age_s", type=parse_seconds, metavar="SECONDS", help="Maximum age of the document."
    ),
    option_once(
        "--leeway", "leeway_s", type=parse_seconds, metavar="SECONDS",
        help="How slow this machine's clock may be.  [default: "
        f"{DEFAULT_LEEWAY.total_seconds():.0f}]",
    ),
    option_once("--root", metavar="FILE", help="Trust this root certificate, in PEM or DER, instead of AWS's."),
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
        images: the measurements of each image that it may come from, by PCR; empty to leave them unchecked.
        nonce: what it must hold.
        user_data: what it must hold, without the line that kmstool-enclave puts in front.
        is_user_data_bare: whether that line must be absent.
        public_key: what it must hold; PEM text stands for the DER in it as well.
        is_whole_request: whether these are all fields of the request for it. It must then hold no other user data, and
            no caller's key, as far as the enclave's line says.
    """

    root_sha256: bytes
    at: datetime | None
    is_at_present: bool
    has_time_option: bool
    leeway: timedelta
    max_age: timedelta | None
    images: Sequence[Mapping[int, bytes]] = ()
    nonce: bytes | None = None
    user_data: bytes | None = None
    is_user_data_bare: bool = False
    public_key: bytes | None = None
    is_whole_request: bool = False


class ExpectationSettings(Settings):
    """What the options say that is to be expected of a document."""

    expect: tuple[str, ...]
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
        paths = [*more.items(), *(("--expect", path) for path in self.expect), ("--root", self.root)]
        from_input = [name for name, path in paths if path == STANDARD_INPUT]
        if len(from_input) > 1:
            names = " and ".join(dict.fromkeys(from_input[:2]))
            raise InputError(f"{names}: only one of them can be standard input")

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
            images=_images(self.expect, self.pcr),
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


def _images(paths: tuple[str, ...], options: tuple[str, ...]) -> list[Mapping[int, bytes]]:
    given = parse_pcr_options(options)
    if not paths:
        return [given] if given else []
    files = [read_file(path, "measurements", max_bytes=MAX_MEASUREMENTS_BYTES) for path in paths]
    images = [parse_measurements(file) for file in files]
    for measured in images:
        for index in sorted(measured.keys() & given.keys()):
            if measured[index] != given[index]:
                raise InputError(f"--pcr {index}: differs from the value in --expect")
    return [{**measured, **given} for measured in images]
