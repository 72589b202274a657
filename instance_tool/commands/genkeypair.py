"""The command that generates a key pair with KMS."""

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
from instance_tool.console.perform import ResultPart, perform
from instance_tool.console.settings import GrantSettings, KeySettings, ResultSettings
from vsock_wire.cli.shared_options import KEY_PAIR_SPEC
from vsock_wire.protocol.vocabulary import Operation


class GenkeypairSettings(ResultSettings, KeySettings, GrantSettings):
    """The options of ``genkeypair``."""

    explain: bool
    ciphertext_out: str | None
    public_key_out: str | None
    key_pair_spec: str


@click.command()
@with_connection(
    GenkeypairSettings,
    *TEXT_RESULT_OPTIONS,
    CIPHERTEXT_OUT_OPTION,
    click.option("--public-key-out", metavar="FILE", help="Write the public key to this file, in DER."),
    EXPLAIN_OPTION,
    *KEY_OPTIONS,
    *GRANT_OPTIONS,
    KEY_PAIR_SPEC.declare(click.option),
)
def genkeypair(settings: GenkeypairSettings) -> None:
    """Generate a key pair, with the private key also encrypted.

    KMS encrypts it under --key-id.

    --output raw writes the private key alone, in DER; --ciphertext-out and
    --public-key-out keep the other parts.

    \b
    Example:
      kmstool-instance genkeypair --cid 16 --key-id alias/app \\
          --key-pair-spec RSA_2048
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    request = kms_request(
        Operation.GENERATE_DATA_KEY_PAIR,
        key_id=required_key_id(settings.key_id),
        encryption_context=settings.encryption_context,
        grants=settings,
        KeyPairSpec=settings.key_pair_spec,
    )
    parts = (
        ResultPart("--ciphertext-out", settings.ciphertext_out, "PrivateKeyCiphertextBlob"),
        ResultPart("--public-key-out", settings.public_key_out, "PublicKey"),
    )
    perform(settings, request, explain=settings.explain, parts=parts)
