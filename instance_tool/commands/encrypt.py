"""The command that encrypts standard input with KMS."""

from __future__ import annotations

import click

from instance_tool.console.kms_requests import kms_request, required_key_id
from instance_tool.console.options import (
    ALGORITHM_OPTION,
    EXPLAIN_OPTION,
    KEY_OPTIONS,
    RESULT_OPTIONS,
    with_connection,
)
from instance_tool.console.perform import perform
from instance_tool.console.settings import KeySettings, ResultSettings
from vsock_wire.cli.streams import standard_input
from vsock_wire.errors import InputError
from vsock_wire.protocol.kms_operations import MAX_PLAINTEXT_BYTES
from vsock_wire.protocol.vocabulary import Operation


class EncryptSettings(ResultSettings, KeySettings):
    """The options of ``encrypt``."""

    explain: bool
    encryption_algorithm: str | None


@click.command()
@with_connection(EncryptSettings, *RESULT_OPTIONS, EXPLAIN_OPTION, *KEY_OPTIONS, ALGORITHM_OPTION)
def encrypt(settings: EncryptSettings) -> None:
    """Encrypt standard input under --key-id and print base64.

    KMS does not check attestation for this operation: anyone whom the key
    policy allows to encrypt can do so, with or without an enclave.

    \b
    Example:
      kmstool-instance encrypt --cid 16 --key-id alias/app < secret > secret.b64
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    key_id = required_key_id(settings.key_id)
    plaintext = standard_input().read(MAX_PLAINTEXT_BYTES + 1)
    if not 1 <= len(plaintext) <= MAX_PLAINTEXT_BYTES:
        problem = "empty" if not plaintext else f"longer than {MAX_PLAINTEXT_BYTES} bytes, the most that KMS encrypts"
        raise InputError(f"standard input: {problem}")
    request = kms_request(
        Operation.ENCRYPT,
        key_id=key_id,
        encryption_context=settings.encryption_context,
        encryption_algorithm=settings.encryption_algorithm,
        Plaintext=plaintext,
    )
    perform(settings, request, explain=settings.explain)
