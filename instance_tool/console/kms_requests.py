"""Building requests to KMS from the options of a command."""

from __future__ import annotations

import os

from instance_tool.console.ciphertext import parse_ciphertext, read_ciphertext
from vsock_wire.cli.streams import STANDARD_INPUT, standard_input
from vsock_wire.cli.values import parse_encryption_context
from vsock_wire.errors import InputError
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.vocabulary import Operation


def kms_request(
    operation: Operation,
    *,
    key_id: str | None,
    encryption_context: tuple[tuple[str, str], ...] = (),
    encryption_algorithm: str | None = None,
    **parameters: object,
) -> KmsRequest:
    """Return a request with these options and with ``parameters``, which have KMS's names; None values are left out.

    Raises:
        InputError: the encryption context has a name twice.
    """
    shared = {
        "EncryptionContext": parse_encryption_context(encryption_context) or None,
        "KeyId": key_id,
        "EncryptionAlgorithm": encryption_algorithm,
    }
    given = {name: value for name, value in {**shared, **parameters}.items() if value is not None}
    return KmsRequest(operation, given)


def required_key_id(key_id: str | None) -> str:
    """Return ``key_id``, for an operation that needs a key.

    Raises:
        InputError: none was given.
    """
    if not key_id:
        raise InputError("--key-id: missing", hint="pass --key-id with a key ID, ARN or alias")
    return key_id


def with_ciphertext(template: KmsRequest, ciphertext: bytes) -> KmsRequest:
    """Return the Decrypt request for one ciphertext."""
    return KmsRequest(template.operation, {**template.parameters, "CiphertextBlob": ciphertext})


def ciphertext_argument(text: str) -> bytes:
    """Return the ciphertext in an argument, or the one on standard input if the argument is STANDARD_INPUT.

    Raises:
        InputError: the text is empty or is not base64, or the ciphertext is longer than KMS accepts.
    """
    return read_ciphertext(standard_input()) if text == STANDARD_INPUT else parse_ciphertext(os.fsencode(text))
