"""CBOR requests and responses of the Nitro Security Module (pure).

Source: the request and response types of AWS's nsm-api crate. The /dev/nsm driver passes them through unchanged.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, TypeVar

import cbor2

from enclave_tool.errors import NsmError
from vsock_wire.protocol.attestation import MAX_ATTESTED_BYTES

MAX_REQUEST_BYTES = 0x1000
"""NSM_REQUEST_MAX_SIZE of the Linux driver (drivers/misc/nsm.c)."""
MAX_RESPONSE_BYTES = 0x3000
"""NSM_RESPONSE_MAX_SIZE of the Linux driver (drivers/misc/nsm.c)."""
MAX_DEPTH = 8
"""Maximum nesting of containers and tags in a response; the one to DescribeNSM has 3 levels."""
MAX_RANDOM_BYTES = 256
"""Maximum number of bytes that one GetRandom returns."""
PCR_COUNT = 32
MAX_ERROR_CODE_CHARS = 64
"""The module's own codes, such as "InvalidArgument", are shorter."""

ATTESTATION = "Attestation"
DESCRIBE = "DescribeNSM"
GET_RANDOM = "GetRandom"

_T = TypeVar("_T")


@dataclass(frozen=True)
class NsmDescription:
    """The response to DescribeNSM."""

    module_id: str
    version: tuple[int, int, int]
    max_pcrs: int
    locked_pcrs: frozenset[int]
    digest: str


def encode_attestation_request(
    *, public_key_der: bytes | None = None, user_data: bytes | None = None, nonce: bytes | None = None
) -> bytes:
    """Return the request for an attestation document that carries the given fields.

    Args:
        public_key_der: at most MAX_ATTESTED_BYTES, as the other two. No bytes are a value; None leaves a field out.
        user_data: anything that is to be signed along.
        nonce: what makes the document fresh for the party that chose it.

    Raises:
        ValueError: a field is longer than the module takes.
    """
    _check_size("public_key_der", public_key_der)
    _check_size("user_data", user_data)
    _check_size("nonce", nonce)
    return cbor2.dumps({ATTESTATION: {"user_data": user_data, "nonce": nonce, "public_key": public_key_der}})


def encode_describe_request() -> bytes:
    """Return the request for the module's description."""
    return cbor2.dumps(DESCRIBE)


def encode_random_request() -> bytes:
    """Return the request for random bytes; the module chooses how many."""
    return cbor2.dumps(GET_RANDOM)


def decode_attestation_response(response: bytes) -> bytes:
    """Return the attestation document without verifying it: nobody but the module could forge it here.

    Raises:
        NsmError: the module refused, or this is not a valid response to Attestation.
    """
    document = _field(ATTESTATION, _decode_response(ATTESTATION, response), "document", bytes)
    if not document:
        raise NsmError(ATTESTATION, "the response has no document")
    return document


def decode_random_response(response: bytes) -> bytes:
    """Return the random bytes, 1 to MAX_RANDOM_BYTES of them.

    Raises:
        NsmError: the module refused, or this is not a valid response to GetRandom.
    """
    random = _field(GET_RANDOM, _decode_response(GET_RANDOM, response), "random", bytes)
    if not 1 <= len(random) <= MAX_RANDOM_BYTES:
        raise NsmError(GET_RANDOM, f"expected 1 to {MAX_RANDOM_BYTES} bytes, got {len(random)}")
    return random


def decode_describe_response(response: bytes) -> NsmDescription:
    """Return the module's description.

    Raises:
        NsmError: the module refused, or this is not a valid response to DescribeNSM.
    """
    fields = _decode_response(DESCRIBE, response)
    locked = _field(DESCRIBE, fields, "locked_pcrs", (list, tuple, set, frozenset))
    if not all(isinstance(index, int) and 0 <= index < PCR_COUNT for index in locked):
        raise NsmError(DESCRIBE, f"locked_pcrs: expected indexes from 0 to {PCR_COUNT - 1}")
    return NsmDescription(
        module_id=_field(DESCRIBE, fields, "module_id", str),
        version=(
            _field(DESCRIBE, fields, "version_major", int),
            _field(DESCRIBE, fields, "version_minor", int),
            _field(DESCRIBE, fields, "version_patch", int),
        ),
        max_pcrs=_field(DESCRIBE, fields, "max_pcrs", int),
        locked_pcrs=frozenset(locked),
        digest=_field(DESCRIBE, fields, "digest", str),
    )


def _check_size(name: str, value: bytes | None) -> None:
    if value is not None and len(value) > MAX_ATTESTED_BYTES:
        raise ValueError(f"{name}: expected at most {MAX_ATTESTED_BYTES} bytes, got {len(value)}")


def _decode_response(request: str, response: bytes) -> dict[Any, Any]:
    """Return the fields in the one-entry map of the response to ``request``."""
    if len(response) > MAX_RESPONSE_BYTES:
        raise NsmError(request, f"expected at most {MAX_RESPONSE_BYTES} bytes in the response, got {len(response)}")
    answer = _decode_cbor(request, response)
    if not isinstance(answer, dict) or len(answer) != 1:
        raise NsmError(request, f"expected a map with one entry in the response, got {type(answer).__name__}")
    if "Error" in answer:
        code = answer["Error"]
        code = code if isinstance(code, str) and code.isalnum() and len(code) <= MAX_ERROR_CODE_CHARS else None
        raise NsmError(request, f"refused with {code or 'an unknown code'}", code=code)
    fields = answer.get(request)
    if not isinstance(fields, dict):
        raise NsmError(request, "the response belongs to another request")
    return fields


def _decode_cbor(request: str, response: bytes) -> Any:
    stream = io.BytesIO(response)
    try:
        answer = cbor2.CBORDecoder(stream, read_size=1, max_depth=MAX_DEPTH, allow_duplicate_keys=False).decode()
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError):
        raise NsmError(request, "the response is not CBOR") from None
    if stream.read(1):
        raise NsmError(request, "bytes follow the CBOR item of the response")
    return answer


def _field(request: str, fields: dict[Any, Any], name: str, kind: type[_T] | tuple[type[_T], ...]) -> _T:
    value = fields.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        expected = kind.__name__ if isinstance(kind, type) else "list"
        raise NsmError(request, f"{name}: expected {expected} in the response, got {type(value).__name__}")
    return value
