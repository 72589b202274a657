"""Building requests to KMS from the options of a command."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from instance_tool.console.ciphertext import MAX_TEXT_BYTES, decode_ciphertext, parse_ciphertext, too_long
from instance_tool.console.settings import GrantSettings, GrantTokenSettings
from instance_tool.errors import EnclaveError
from vsock_wire.cli.encryption_context import one_pair_hint
from vsock_wire.cli.kms_requests import request_from_options
from vsock_wire.cli.streams import STANDARD_INPUT, read_file, standard_input
from vsock_wire.errors import InputError, ToolError
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.vocabulary import KmstoolText, Operation, Service

FILE_PREFIXES = ("file://", "fileb://", "@")
"""What stands in front of a file's path in an argument: as in the aws command, and as in curl. The content tells text
from raw bytes."""
_NAME_MAX = 255
"""The longest file name. Source: Linux, <linux/limits.h>. A ciphertext is longer or not base64."""


def kms_request(
    operation: Operation,
    *,
    key_id: str | None,
    encryption_context: tuple[tuple[str, str], ...] = (),
    encryption_algorithm: str | None = None,
    grants: GrantTokenSettings | None = None,
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
        dry_run=isinstance(grants, GrantSettings) and grants.dry_run,
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


def hint_at_context(error: ToolError, request: KmsRequest) -> None:
    """Add a hint to a refusal if it may come from an --encryption-context that has several pairs in one."""
    if not isinstance(error, EnclaveError):
        return
    reply = error.reply
    is_without_reason = reply.code is None and reply.message == KmstoolText.DECRYPT_FAILED
    if reply.service == Service.KMS or is_without_reason:
        hint = one_pair_hint(request.parameters.get("EncryptionContext"), reply.code)
        error.hint = "; ".join(text for text in (hint, error.hint) if text) or None


def ciphertext_argument(text: str | None) -> bytes:
    """Return the ciphertext that an argument gives or names.

    The argument is the text itself, ``file://PATH``, ``fileb://PATH`` or ``@PATH``, or STANDARD_INPUT. Without an
    argument, standard input is read unless it is a terminal, so that nothing waits for a user who does not know it.

    Raises:
        InputError: there is no ciphertext, as ``decode_ciphertext``; or the file cannot be read.
    """
    if text is None:
        return _piped_ciphertext()
    if text in (STANDARD_INPUT, f"@{STANDARD_INPUT}"):
        if sys.stdin is not None and sys.stdin.isatty():
            click.echo("reading the ciphertext from the terminal; Ctrl-D on a line of its own ends it", err=True)
        return _decode(standard_input().read(MAX_TEXT_BYTES + 1))
    prefix = next((prefix for prefix in FILE_PREFIXES if text.startswith(prefix)), None)
    if prefix is not None:
        return _read_ciphertext_file(text.removeprefix(prefix), prefix)
    try:
        return parse_ciphertext(os.fsencode(text))
    except InputError as error:
        if len(text) <= _NAME_MAX and Path(text).is_file():
            hint = "to read the file, write file:// before its name"
            raise InputError("CIPHERTEXT: the name of a file, not a ciphertext", hint=hint) from None
        raise error from None


def _piped_ciphertext() -> bytes:
    content = b"" if sys.stdin is None or sys.stdin.isatty() else standard_input().read(MAX_TEXT_BYTES + 1)
    if not content:
        raise InputError(
            "CIPHERTEXT: missing",
            hint="pass base64 text, file://PATH, or a pipe; kmstool-instance --help shows examples",
        )
    return _decode(content)


def _read_ciphertext_file(path: str, prefix: str) -> bytes:
    if not path:
        raise InputError(f"CIPHERTEXT: {prefix} without a path")
    return decode_ciphertext(read_file(_expanded(path), "CIPHERTEXT", max_bytes=MAX_TEXT_BYTES))


def _expanded(path: str) -> str:
    """Return a path with the home directory instead of ``~``, which the shell expands only in front of a word."""
    return str(Path(path).expanduser()) if path.startswith("~") else path


def _decode(content: bytes) -> bytes:
    if len(content) > MAX_TEXT_BYTES:
        raise too_long()
    return decode_ciphertext(content)
