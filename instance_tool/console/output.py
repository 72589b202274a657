"""Encoding of results for standard output (pure)."""

from __future__ import annotations

import enum
import json
from typing import NamedTuple

from instance_tool.errors import EnclaveError, error_code
from vsock_wire.cli.labels import LABELS
from vsock_wire.errors import InputError, ToolError
from vsock_wire.protocol.delivery import DIGEST, MESSAGE, OUTPUT
from vsock_wire.protocol.json_codec import JsonObject, encode_base64
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS, KmsResult
from vsock_wire.protocol.vocabulary import Operation

CIPHERTEXT_BLOB = "CiphertextBlob"


class OutputFormat(enum.StrEnum):
    """Values of ``--output`` for commands that return a result."""

    RAW = "raw"
    BASE64 = "base64"
    JSON = "json"


class ReportFormat(enum.StrEnum):
    """Values of ``--output`` for commands that print a report."""

    TEXT = "text"
    JSON = "json"


class _Delivered(NamedTuple):
    """What left the enclave instead of, or as, a secret: its label, its bytes, and its raw output form."""

    label: str
    data: bytes
    raw: bytes


def encode_result(
    operation: Operation, result: KmsResult, output_format: OutputFormat, *, line_number: int | None = None
) -> bytes:
    """Return the output for one result, without the newline after it.

    Raw is the bytes of the secret alone, or of the ciphertext for Encrypt. With base64, a result with several parts
    becomes labeled lines. A digest is hexadecimal with raw, and base64 with base64.

    Args:
        operation: the operation that was performed.
        result: its result.
        output_format: raw bytes, base64, or a JSON object with KMS's names.
        line_number: number of the line in a batch, which JSON output includes; None outside a batch.

    Raises:
        InputError: in a batch with raw output, the plaintext has a line break, so its end could not be told.
    """
    if output_format is OutputFormat.JSON:
        return json.dumps(_json_fields(operation, result, line_number)).encode("ascii")
    delivered = _delivered(result)
    if output_format is OutputFormat.RAW:
        return _raw(result, delivered, line_number)
    labels = LABELS[operation]
    if len(labels) > 1:
        return b"\n".join(_line(label, name, result, delivered) for label, name in labels.items())
    data = bytes_of_field(result, CIPHERTEXT_BLOB) if delivered is None else delivered.data
    return encode_base64(data).encode("ascii")


def encode_failed_line(error: ToolError, output_format: OutputFormat, *, line_number: int) -> bytes:
    """Return the output for a line of a batch that failed, without the newline after it: nothing, or the error in JSON.

    Args:
        error: why the line failed.
        output_format: format of the results.
        line_number: number of the line, from 1.
    """
    if output_format is not OutputFormat.JSON:
        return b""
    return json.dumps({"Line": line_number, "Error": str(error), "Code": error_code(error)}).encode("ascii")


def error_fields(error: ToolError) -> JsonObject:
    """Return the JSON object that reports an error with ``--output json``; fields without a value are left out."""
    fields: JsonObject = {"Error": str(error), "Code": error_code(error), "Hint": error.hint}
    if isinstance(error, EnclaveError):
        reply = error.reply
        fields |= {"Reason": reply.reason, "Service": reply.service}
        fields |= {"HttpStatus": reply.http_status, "RequestId": reply.request_id}
    return {name: value for name, value in {**fields, "ExitCode": int(error.exit_code)}.items() if value is not None}


def _delivered(result: KmsResult) -> _Delivered | None:
    digest, output = result.fields.get(DIGEST), result.fields.get(OUTPUT)
    if isinstance(digest, str):
        return _Delivered("DIGEST", bytes.fromhex(digest), digest.encode("ascii"))
    if isinstance(output, bytes):
        return _Delivered("OUTPUT", output, output)
    return None if result.secret is None else _Delivered("PLAINTEXT", result.secret, result.secret)


def bytes_of_field(result: KmsResult, name: str) -> bytes:
    """Return a field of a result that has bytes; no bytes if the enclave, kmstool in C, does not send it."""
    value = result.fields.get(name)
    return value if isinstance(value, bytes) else b""


def _raw(result: KmsResult, delivered: _Delivered | None, line_number: int | None) -> bytes:
    if delivered is None:
        return bytes_of_field(result, CIPHERTEXT_BLOB)
    if line_number is not None and b"\n" in delivered.raw:
        raise InputError(
            f"{delivered.label.lower()}: has a line break, which --batch cannot write with --output raw",
            hint="use --output base64 or --output json",
        )
    return delivered.raw


def _line(label: str, name: str, result: KmsResult, delivered: _Delivered | None) -> bytes:
    if name != MESSAGE or delivered is None:
        return f"{label}: {encode_base64(bytes_of_field(result, name))}".encode("ascii")
    text = delivered.raw if delivered.label == "DIGEST" else encode_base64(delivered.data).encode("ascii")
    return delivered.label.encode("ascii") + b": " + text


def _json_fields(operation: Operation, result: KmsResult, line_number: int | None) -> JsonObject:
    fields: JsonObject = {} if line_number is None else {"Line": line_number}
    delivers = KMS_OPERATIONS[operation].delivers
    if delivers is not None and result.secret is not None:
        fields[delivers] = encode_base64(result.secret)
    for name, value in result.fields.items():
        fields[name] = encode_base64(value) if isinstance(value, bytes) else value
    return fields
