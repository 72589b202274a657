"""The command that encrypts standard input with KMS."""

from __future__ import annotations

import click

from instance_tool.console.kms_requests import kms_request, required_key_id
from instance_tool.console.options import (
    ALGORITHM_OPTION,
    EXPLAIN_OPTION,
    GRANT_OPTIONS,
    KEY_OPTIONS,
    TEXT_RESULT_OPTIONS,
    with_connection,
)
from instance_tool.console.perform import perform
from instance_tool.console.settings import GrantSettings, KeySettings, ResultSettings
from vsock_wire.cli.kms_requests import read_plaintext
from vsock_wire.protocol.vocabulary import Operation


class EncryptSettings(ResultSettings, KeySettings, GrantSettings):
    """The options of ``encrypt``."""

    explain: bool
    encryption_algorithm: str | None


@click.command()
@with_connection(EncryptSettings, *TEXT_RESULT_OPTIONS, EXPLAIN_OPTION, *KEY_OPTIONS, *GRANT_OPTIONS, ALGORITHM_OPTION)
def encrypt(settings: EncryptSettings) -> None:
    """Encrypt standard input under --key-id; print the ciphertext.

    KMS does not check attestation for this operation: anyone whom the key
    policy allows to encrypt can do so, with or without an enclave.

    \b
    Example:
      kmstool-instance encrypt --cid 16 --key-id alias/app < secret > secret.b64
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    key_id = required_key_id(settings.key_id)
    plaintext = read_plaintext()
    request = kms_request(
        Operation.ENCRYPT,
        key_id=key_id,
        encryption_context=settings.encryption_context,
        encryption_algorithm=settings.encryption_algorithm,
        grants=settings,
        Plaintext=plaintext,
    )
    perform(settings, request, explain=settings.explain)
