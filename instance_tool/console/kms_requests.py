"""Building requests to KMS from the options of a command."""

from __future__ import annotations

import os

from instance_tool.console.ciphertext import parse_ciphertext, read_ciphertext
from instance_tool.console.settings import GrantSettings
from vsock_wire.cli.kms_requests import request_from_options
from vsock_wire.cli.streams import STANDARD_INPUT, standard_input
from vsock_wire.errors import InputError
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.vocabulary import Operation


def kms_request(
    operation: Operation,
    *,
    key_id: str | None,
    encryption_context: tuple[tuple[str, str], ...] = (),
    encryption_algorithm: str | None = None,
    grants: GrantSettings | None = None,
    **parameters: object,
) -> KmsRequest:
    """Return a request with these options and with ``parameters``, which have KMS's names; None values are left out.

    Raises:
        InputError: as ``request_from_options``.
    """
    return request_from_options(
        operation,
        {"KeyId": key_id, "EncryptionAlgorithm": encryption_algorithm, **parameters},
        encryption_context=encryption_context,
        grant_tokens=() if grants is None else grants.grant_tokens,
        dry_run=grants is not None and grants.dry_run,
    )


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
