"""The command that generates a data key with KMS."""

from __future__ import annotations

import click

from instance_tool.console.kms_requests import kms_request, required_key_id
from instance_tool.console.options import (
    CIPHERTEXT_OUT_OPTION,
    EXPLAIN_OPTION,
    GRANT_OPTIONS,
    KEY_OPTIONS,
    TEXT_RESULT_OPTIONS,
    with_connection,
)
from instance_tool.console.output import CIPHERTEXT_BLOB
from instance_tool.console.perform import ResultPart, perform
from instance_tool.console.settings import GrantSettings, KeySettings, ResultSettings
from vsock_wire.cli.shared_options import KEY_SPEC
from vsock_wire.errors import InputError
from vsock_wire.protocol.kms_operations import MAX_RANDOM_BYTES
from vsock_wire.protocol.vocabulary import Operation

KEY_SPECS = ("AES_256", "AES_128", "AES-256", "AES-128")
"""KMS's names, then those of kmstool_enclave_cli."""


class GenkeySettings(ResultSettings, KeySettings, GrantSettings):
    """The options of ``genkey``."""

    explain: bool
    ciphertext_out: str | None
    key_spec: str | None
    length: int | None


@click.command()
@with_connection(
    GenkeySettings,
    *TEXT_RESULT_OPTIONS,
    CIPHERTEXT_OUT_OPTION,
    EXPLAIN_OPTION,
    *KEY_OPTIONS,
    *GRANT_OPTIONS,
    KEY_SPEC.declare(click.option, type=click.Choice(KEY_SPECS)),
    click.option(
        "--length", type=click.IntRange(1, MAX_RANDOM_BYTES), metavar="BYTES",
        help="Size of the data key; replaces --key-spec.",
    ),
)  # fmt: skip
def genkey(settings: GenkeySettings) -> None:
    """Generate a data key, both in plaintext and encrypted.

    KMS encrypts it under --key-id.

    --output raw writes the bytes of the plaintext key alone; --ciphertext-out
    keeps the encrypted key.

    \b
    Examples:
      kmstool-instance genkey --cid 16 --key-id alias/app --output json
      kmstool-instance genkey --cid 16 --key-id alias/app --output raw \\
          --out key.bin --ciphertext-out key.enc
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    if settings.key_spec and settings.length:
        raise InputError("--key-spec and --length cannot be used together")
    request = kms_request(
        Operation.GENERATE_DATA_KEY,
        key_id=required_key_id(settings.key_id),
        encryption_context=settings.encryption_context,
        grants=settings,
        KeySpec=None if settings.length else (settings.key_spec or "AES_256").replace("-", "_"),
        NumberOfBytes=settings.length,
    )
    parts = (ResultPart("--ciphertext-out", settings.ciphertext_out, CIPHERTEXT_BLOB),)
    perform(settings, request, explain=settings.explain, parts=parts)
