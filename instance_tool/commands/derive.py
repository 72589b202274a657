"""The command that derives a shared secret with KMS."""

from __future__ import annotations

from pathlib import Path

import click

from instance_tool.console.kms_requests import kms_request, required_key_id
from instance_tool.console.options import (
    EXPLAIN_OPTION,
    GRANT_OPTIONS,
    KEY_OPTION,
    NO_NEWLINE_OPTION,
    RESULT_OPTIONS,
    with_connection,
)
from instance_tool.console.perform import perform
from instance_tool.console.settings import GrantSettings, ResultSettings
from vsock_wire.cli.streams import read_file
from vsock_wire.protocol.kms_operations import MAX_PUBLIC_KEY_BYTES
from vsock_wire.protocol.vocabulary import Operation


class DeriveSettings(ResultSettings, GrantSettings):
    """The options of ``derive``."""

    explain: bool
    key_id: str | None
    public_key: Path
    no_newline: bool


@click.command()
@with_connection(
    DeriveSettings,
    *RESULT_OPTIONS,
    EXPLAIN_OPTION,
    KEY_OPTION,
    *GRANT_OPTIONS,
    click.option(
        "--public-key", type=click.Path(path_type=Path), required=True, help="File with the peer's public key, in DER."
    ),
    NO_NEWLINE_OPTION,
)
def derive(settings: DeriveSettings) -> None:
    """Derive an ECDH shared secret from --key-id and a public key.

    \b
    Example:
      kmstool-instance derive --cid 16 --key-id alias/ecc --public-key peer.der
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    public_key_der = read_file(settings.public_key, "--public-key", max_bytes=MAX_PUBLIC_KEY_BYTES)
    request = kms_request(
        Operation.DERIVE_SHARED_SECRET,
        key_id=required_key_id(settings.key_id),
        grants=settings,
        PublicKey=public_key_der,
        KeyAgreementAlgorithm="ECDH",
    )
    perform(settings, request, explain=settings.explain, newline=not settings.no_newline)
