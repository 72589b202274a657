"""JSON of messages: accepts only strict JSON, writes plain ASCII, and handles the base64 in it (pure)."""

from __future__ import annotations

import binascii
import json
import math
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, NoReturn, TypeAlias

from vsock_wire.protocol.vocabulary import EnclaveCode, KmstoolText, RequestError

JsonObject: TypeAlias = dict[str, Any]

MAX_DEPTH = 32
"""Maximum nesting of objects and arrays; a message of this protocol has 3 levels. The parser in kmstool in C has the
same limit. Source: json-c, json_tokener.h, JSON_TOKENER_DEFAULT_DEPTH."""
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
"""An unterminated string matches up to the end of the text. Otherwise, a search for the end of each string would take
quadratic time."""


def encode_message(message: Mapping[str, Any]) -> bytes:
    """Return ``message`` as ASCII JSON on one line, without NUL."""
    return json.dumps(message, ensure_ascii=True, allow_nan=False).encode("ascii")


def decode_message(data: bytes) -> JsonObject:
    """Decode one message as strict JSON.

    kmstool's parser is lax: it accepts single quotes, trailing text and duplicate keys. This one accepts what
    ``decode_json`` does.

    Raises:
        RequestError: the bytes are not UTF-8, not JSON that ``decode_json`` accepts, or not a JSON object.
    """
    try:
        message = decode_json(data.decode("utf-8"))
    except ValueError:
        # The parser's own text may quote the message, which may contain credentials.
        raise RequestError(
            KmstoolText.INVALID_JSON,
            EnclaveCode.INVALID_MESSAGE,
            hint="expected one strict JSON object (RFC 8259, UTF-8) before each NUL byte",
        ) from None
    if message is None:  # kmstool's parser cannot tell null from a failure, so kmstool replies with this text
        raise RequestError(KmstoolText.INVALID_JSON, EnclaveCode.INVALID_MESSAGE, hint="expected an object, got null")
    if not isinstance(message, dict):
        kind = type(message).__name__
        raise RequestError(
            KmstoolText.NOT_AN_OBJECT, EnclaveCode.INVALID_MESSAGE, hint=f"expected an object, got {kind}"
        )
    return message


def decode_json(text: str) -> Any:
    """Return the value of strict JSON (RFC 8259), which has one meaning for every reader.

    Raises:
        ValueError: the text is not strict JSON, or is nested deeper than MAX_DEPTH. Duplicate keys, NaN, numbers beyond
            a double and lone surrogates are not strict. The error's text may quote the JSON.
    """
    _refuse_depth(text)
    value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant, parse_float=_finite_float)
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails on lone surrogates
    return value


def encode_base64(data: bytes) -> str:
    """Return ``data`` in standard base64 with padding (RFC 4648 section 4)."""
    return b64encode(data).decode("ascii")


def decode_base64(text: object) -> bytes:
    """Return the bytes of standard base64 text with padding and without line breaks (RFC 4648 section 4).

    Raises:
        ValueError: the text is not such base64. The error does not quote it.
    """
    if not isinstance(text, str):
        raise ValueError(f"expected base64 text, got {type(text).__name__}")
    try:
        data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError:
        data = None
    # Strict mode still accepts padding after a whole group, and stray bits before it. Allow only one text per value.
    if data is None or encode_base64(data) != text:
        raise ValueError("not standard base64 with padding")
    return data


def _refuse_depth(text: str) -> None:
    """Limit the nesting of brackets outside strings: Python's parser has a limit of its own only in some versions."""
    if text.count("{") + text.count("[") <= MAX_DEPTH:  # nearly always true, and fast: two scans for one byte
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        match match[0]:
            case "{" | "[":
                depth += 1
                if depth > MAX_DEPTH:
                    raise ValueError(f"nested deeper than {MAX_DEPTH}")
            case "}" | "]":
                depth -= 1


def _unique_keys(pairs: list[tuple[str, Any]]) -> JsonObject:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate key")
    return members


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("number beyond a double")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
