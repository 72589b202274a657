"""The command that has an enclave attest itself, and verifies what it says."""

from __future__ import annotations

import enum
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from instance_tool.console.documents import verify_and_warn
from instance_tool.console.expectations import (
    EXPECTATION_OPTIONS,
    Expectations,
    ExpectationSettings,
    der_of_pem,
    parse_attested,
    read_public_key,
)
from instance_tool.console.options import EXPLAIN_OPTION, option_once, with_connection
from instance_tool.console.perform import explaining
from instance_tool.console.reports import attestation_errors_reported
from instance_tool.console.settings import ConnectionSettings
from nitro_attestation.document.report import document_json, document_text
from vsock_wire.protocol.attestation import AttestationRequest
from vsock_wire.protocol.json_codec import encode_base64
from vsock_wire.protocol.vocabulary import Operation

NONCE_BYTES = 32
"""Size of a nonce chosen here: nobody can guess it, so no older document can contain it."""


class AttestFormat(enum.StrEnum):
    """Values of ``--output``."""

    TEXT = "text"
    JSON = "json"
    BASE64 = "base64"
    RAW = "raw"


class AttestSettings(ConnectionSettings, ExpectationSettings):
    """The options of ``attest``."""

    output: str
    explain: bool
    nonce: str | None
    user_data: str | None
    bare_user_data: bool
    public_key: str | None
    save: Path | None

    def request(self) -> AttestationRequest:
        """Return the request for a document, whose nonce is a new one unless the options have one.

        Raises:
            InputError: an option has no possible value.
        """
        nonce = parse_attested("--nonce", self.nonce)
        key = read_public_key(self.public_key)
        return AttestationRequest(
            nonce=secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce,
            user_data=parse_attested("--user-data", self.user_data),
            public_key=None if key is None else der_of_pem(key),
            is_user_data_bare=self.bare_user_data,
        )


@click.command()
@with_connection(
    AttestSettings,
    click.option(
        "--output",
        type=click.Choice([str(form) for form in AttestFormat]),
        default=str(AttestFormat.TEXT),
        show_default=True,
        help="A report as text or JSON, or the document itself.",
    ),
    EXPLAIN_OPTION,
    option_once("--nonce", metavar="HEX", help="Nonce for the document.  [default: 32 random bytes]"),
    option_once("--user-data", metavar="HEX", help="User data to include in the document."),
    click.option("--bare-user-data", is_flag=True, help="Omit the enclave's own line before the user data."),
    option_once(
        "--public-key", metavar="FILE", help="Public key to include, in DER or PEM, instead of the enclave's own."
    ),
    *EXPECTATION_OPTIONS,
    click.option(
        "--save",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Save the document as CBOR, even if it is not valid.",
    ),
)
@attestation_errors_reported()
def attest(settings: AttestSettings) -> None:
    """Fetch a fresh attestation document, and verify it.

    Checks the signature, the certificate chain up to AWS's root, the time, the
    nonce, the other requested fields and, with --expect or --pcr, the
    measurements. --output base64 and raw print the document itself.

    The enclave puts a line before the user data that says how it delivers
    secrets, such as deliver=reply. Only an enclave that replies with secrets
    accepts --bare-user-data and --public-key.

    \b
    Examples:
      kmstool-instance attest --cid 16 --expect measurements.json
      kmstool-instance attest --cid 16 --user-data c0de --max-age 60
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    settings.check_standard_input(**{"--public-key": settings.public_key})
    request = settings.request()
    expected = _expectations(settings, request)
    with explaining(Operation.GET_ATTESTATION_DOCUMENT, is_wanted=settings.explain), settings.new_client() as client:
        document = client.fetch_attestation_document(
            nonce=request.nonce,
            user_data=request.user_data,
            public_key=request.public_key,
            bare_user_data=request.is_user_data_bare,
        )
    if settings.save is not None:  # before it is verified: a document that fails is the one to look at
        settings.save.write_bytes(document)
    verified = verify_and_warn(document, replace(expected, at=datetime.now(UTC)))
    match AttestFormat(settings.output):
        case AttestFormat.TEXT:
            click.echo(document_text(verified))
        case AttestFormat.JSON:
            click.echo(document_json(verified))
        case AttestFormat.BASE64:
            click.echo(encode_base64(document))
        case AttestFormat.RAW:
            click.echo(document, nl=False)


def _expectations(settings: AttestSettings, request: AttestationRequest) -> Expectations:
    """Return what the options expect of the document, and that it holds everything it is asked to hold."""
    expected = settings.expectations(at=datetime.now(UTC), is_at_present=True, has_time_option=False)
    return replace(
        expected,
        nonce=request.nonce,
        user_data=request.user_data,
        is_user_data_bare=request.is_user_data_bare,
        public_key=request.public_key,
        is_whole_request=True,
    )
