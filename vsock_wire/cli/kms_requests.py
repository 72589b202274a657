"""Makes requests to KMS from the values of command-line options, and checks what KMS would only refuse later."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

from vsock_wire.cli.encryption_context import parse_encryption_context
from vsock_wire.cli.program import runs_under_c_name
from vsock_wire.cli.streams import standard_input
from vsock_wire.errors import InputError, ToolError
from vsock_wire.protocol.kms_operations import (
    DATA_KEY_HINT,
    MAX_GRANT_TOKENS,
    MAX_PLAINTEXT_BYTES,
    SYMMETRIC_DEFAULT,
    KmsRequest,
)
from vsock_wire.protocol.vocabulary import Operation


def request_from_options(
    operation: Operation,
    parameters: Mapping[str, object],
    *,
    encryption_context: Iterable[tuple[str, str]] = (),
    grant_tokens: tuple[str, ...] = (),
    dry_run: bool = False,
) -> KmsRequest:
    """Return a request with the values of a command's options.

    Args:
        operation: the operation to call.
        parameters: by KMS's names; None values are left out.
        encryption_context: the values of --encryption-context.
        grant_tokens: the values of --grant-token.
        dry_run: the value of --dry-run.

    Raises:
        InputError: the encryption context has a name twice, there are too many grant tokens or an empty one, or a
            Decrypt has an asymmetric algorithm but no key, which such a ciphertext does not name.
    """
    shared = {
        "EncryptionContext": parse_encryption_context(encryption_context) or None,
        "GrantTokens": _checked_tokens(grant_tokens) or None,
        "DryRun": dry_run or None,
    }
    given = {name: value for name, value in {**shared, **parameters}.items() if value is not None}
    algorithm = given.get("EncryptionAlgorithm", SYMMETRIC_DEFAULT)
    if operation is Operation.DECRYPT and algorithm != SYMMETRIC_DEFAULT and not given.get("KeyId"):
        if not runs_under_c_name():
            raise InputError(
                "--encryption-algorithm: an asymmetric algorithm needs --key-id",
                hint="pass --key-id with the asymmetric key: its ciphertexts do not name it",
            )
        del given["EncryptionAlgorithm"]  # as kmstool does, without a word
    return KmsRequest(operation, given)


def read_plaintext() -> bytes:
    """Return the bytes of standard input, to encrypt.

    Raises:
        InputError: standard input is closed or empty, or has more bytes than KMS encrypts.
    """
    plaintext = standard_input().read(MAX_PLAINTEXT_BYTES + 1)
    if not plaintext:
        raise InputError("standard input: empty")
    if len(plaintext) > MAX_PLAINTEXT_BYTES:
        raise InputError(
            f"standard input: longer than {MAX_PLAINTEXT_BYTES} bytes, the most that KMS encrypts",
            hint=DATA_KEY_HINT,
        )
    return plaintext


def report_dry_run(program: str, operation: Operation) -> None:
    """Print to standard error that KMS would perform the operation."""
    if sys.stderr is not None:
        print(f"{program}: dry run: KMS would perform {operation}", file=sys.stderr)


def dry_run_ignored(operation: Operation) -> ToolError:
    """Return the error for a peer that has performed a request with DryRun; the caller drops the result."""
    return ToolError(
        f"--dry-run: {operation} was performed anyway, and its result was discarded",
        hint="the enclave runs an older version, which ignores --dry-run: update it, or omit --dry-run",
    )


def _checked_tokens(tokens: tuple[str, ...]) -> tuple[str, ...]:
    if len(tokens) > MAX_GRANT_TOKENS:
        raise InputError(f"--grant-token: expected at most {MAX_GRANT_TOKENS}, got {len(tokens)}")
    if not all(tokens):
        raise InputError("--grant-token: empty")
    return tokens
