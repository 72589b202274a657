"""The JSON of KMS's responses (pure)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias

from vsock_wire.protocol.json_codec import JsonObject

AnswerRewriter: TypeAlias = Callable[[str, JsonObject], JsonObject]
"""Takes an operation and the JSON of its response, and returns what to send instead."""


def encode_answer(answer: JsonObject) -> JsonObject:
    """Encode as AWS's JSON protocol does: bytes in base64, times in seconds since 1970."""
    return {name: _encode(value) for name, value in answer.items()}


def _encode(value: Any) -> Any:
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, datetime):
        return round(value.timestamp(), 3)
    if isinstance(value, list):
        return [_encode(item) for item in value]
    if isinstance(value, dict):
        return encode_answer(value)
    return value
