"""How results are written to standard output (pure)."""

from __future__ import annotations

import enum
import json

from vsock_wire.errors import InputError
from vsock_wire.messages import DecryptResult, encode_base64


class OutputFormat(enum.StrEnum):
    """What ``--output`` takes."""

    RAW = "raw"
    BASE64 = "base64"
    JSON = "json"


def encode_result(result: DecryptResult, output_format: OutputFormat, *, line_number: int | None = None) -> bytes:
    """Return the bytes for one result, without the newline behind it.

    Args:
        result: what was decrypted.
        output_format: raw plaintext, its base64, or a JSON object.
        line_number: of the batch, which JSON output names.

    Raises:
        InputError: a line of a batch is to be written raw but its plaintext holds a line break, so that nobody could
            tell where it ends.
    """
    match output_format:
        case OutputFormat.RAW:
            if line_number is not None and b"\n" in result.plaintext:
                raise InputError(
                    "plaintext: expected no line break in a batch with --output raw, got one",
                    hint="use --output base64 or --output json",
                )
            return result.plaintext
        case OutputFormat.BASE64:
            return encode_base64(result.plaintext).encode("ascii")
        case OutputFormat.JSON:
            return _encode_json(result, line_number)


def _encode_json(result: DecryptResult, line_number: int | None) -> bytes:
    fields = {
        "Line": line_number,
        "Plaintext": encode_base64(result.plaintext),
        "KeyId": result.key_id,
        "EncryptionAlgorithm": result.encryption_algorithm,
    }
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode("ascii")
