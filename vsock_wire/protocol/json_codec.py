"""Messages as JSON: strict objects in, plain ASCII out, and the base64 inside them (pure)."""

from __future__ import annotations

import binascii
import json
import math
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, NoReturn, TypeAlias

from vsock_wire.protocol.vocabulary import EnclaveCode, KmstoolText, RequestError

JsonObject: TypeAlias = dict[str, Any]


def encode_message(message: Mapping[str, Any]) -> bytes:
    """Return ``message`` as UTF-8 JSON without line breaks (and so without NUL)."""
    return json.dumps(message, ensure_ascii=True, allow_nan=False).encode("ascii")


def decode_message(data: bytes) -> JsonObject:
    """Read one message as strict JSON.

    kmstool's parser is lax (single quotes, trailing text, duplicate keys); this one takes RFC 8259 JSON only, so that
    no two readers can see two meanings in one message.

    Raises:
        RequestError: the bytes are not strict JSON (duplicate keys, NaN, numbers beyond a double, lone surrogates and
            nesting too deep for Python's parser included), or the JSON is no object.
    """
    try:
        text = data.decode("utf-8")
        message = json.loads(
            text, object_pairs_hook=_unique_keys, parse_constant=_no_constant, parse_float=_finite_float
        )
        if "\\u" in text:
            json.dumps(message, ensure_ascii=False).encode("utf-8")  # fails on lone surrogates
    except (ValueError, RecursionError):
        # The parser's own text may quote the message, which may hold credentials.
        raise RequestError(
            KmstoolText.INVALID_JSON,
            EnclaveCode.INVALID_MESSAGE,
            hint="expected one strict JSON object (RFC 8259, UTF-8) before each NUL byte",
        ) from None
    if message is None:  # kmstool's parser cannot tell null from a failure, and answers so
        raise RequestError(KmstoolText.INVALID_JSON, EnclaveCode.INVALID_MESSAGE, hint="expected an object, got null")
    if not isinstance(message, dict):
        kind = type(message).__name__
        raise RequestError(
            KmstoolText.NOT_AN_OBJECT, EnclaveCode.INVALID_MESSAGE, hint=f"expected an object, got {kind}"
        )
    return message


def encode_base64(data: bytes) -> str:
    """Return ``data`` in standard base64 with padding (RFC 4648 section 4)."""
    return b64encode(data).decode("ascii")


def decode_base64(text: object) -> bytes:
    """Return the bytes of standard base64 text with padding and without line breaks (RFC 4648 section 4).

    Raises:
        ValueError: it is no such text; the error does not quote it.
    """
    if not isinstance(text, str):
        raise ValueError(f"expected base64 text, got {type(text).__name__}")
    try:
        data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError:
        data = None
    # Strict mode still takes padding behind a whole group, and stray bits before it: one text for one ciphertext.
    if data is None or encode_base64(data) != text:
        raise ValueError("expected standard base64 with padding, got other text")
    return data


def _unique_keys(pairs: list[tuple[str, Any]]) -> JsonObject:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate key")
    return members


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number beyond a double, which no message can carry on")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
