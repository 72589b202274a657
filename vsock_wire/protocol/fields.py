"""Fields of the wire protocol's messages: their types, and how to read them (pure).

A field has the name and meaning of KMS's own parameter. Bytes travel as base64.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from vsock_wire.errors import WireError
from vsock_wire.protocol.json_codec import JsonObject, decode_base64, decode_json
from vsock_wire.protocol.vocabulary import KmstoolText, RequestError


class Kind(enum.Enum):
    """The type of a field."""

    TEXT = enum.auto()
    TEXTS = enum.auto()
    BYTES = enum.auto()
    NUMBER = enum.auto()
    CONTEXT = enum.auto()
    FLAG = enum.auto()


class Field(NamedTuple):
    """One field of a request or reply.

    Attributes:
        name: its name in messages.
        kind: its type.
        most: maximum number of bytes (BYTES), of texts (TEXTS), or the largest number (NUMBER). The minimum of NUMBER
            is 1.
        is_required: whether a request must have it.
        kms_name: KMS's name for it, if that is different.
        least: minimum number of bytes (BYTES).
        too_long_hint: what to do about more than ``most`` bytes.
    """

    name: str
    kind: Kind
    most: int | None = None
    is_required: bool = False
    kms_name: str | None = None
    least: int = 1
    too_long_hint: str | None = None

    @property
    def parameter(self) -> str:
        """KMS's name for the field."""
        return self.kms_name or self.name


class FieldError(WireError):
    """A field's value is missing or not valid. The text never quotes the value."""


def read_named_field(spec: Field, message: JsonObject) -> Any:
    """Return one field of a request as boto3 takes it, or None if it is absent.

    Raises:
        FieldError: the field is required but absent, has the wrong type, or is out of bounds. The text names the field.
        RequestError: the same for Ciphertext, for which kmstool has its own texts.
    """
    try:
        return _read_field(spec, message.get(spec.name))
    except FieldError as error:
        raise FieldError(f"{spec.name}: {error}", hint=error.hint) from None


def encode_plain(value: Any) -> Any:
    """Return a value other than bytes as JSON represents it."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _read_field(spec: Field, value: object) -> Any:
    """Return the value as boto3 takes it, or None if the field is absent or null, as in kmstool."""
    if value is None:
        if spec.is_required:
            _missing(spec)
        return None
    read: Any
    match spec.kind:
        case Kind.TEXT:
            read = _read_text(value)
        case Kind.TEXTS:
            read = _read_texts(spec, value)
        case Kind.BYTES:
            read = _read_bytes(spec, value)
        case Kind.NUMBER:
            read = _read_number(spec, value)
        case Kind.CONTEXT:
            read = _read_context(value)
        case Kind.FLAG:
            read = _read_flag(value)
    return read


def _missing(spec: Field) -> NoReturn:
    if spec.name == "Ciphertext":
        raise RequestError(KmstoolText.NO_CIPHERTEXT, hint="expected a field Ciphertext")
    raise FieldError("required, but missing")


def _read_text(value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise FieldError(f"expected a non-empty string, got {type(value).__name__}")


def _read_texts(spec: Field, value: object) -> tuple[str, ...] | None:
    is_list = isinstance(value, list) and len(value) <= (spec.most or 0)
    if not isinstance(value, list) or not is_list or not all(isinstance(text, str) and text for text in value):
        raise FieldError(f"expected at most {spec.most} non-empty strings")
    return tuple(value) or None


def _read_bytes(spec: Field, value: object) -> bytes:
    try:
        data = decode_base64(value)
    except ValueError as error:
        if spec.name == "Ciphertext":
            raise RequestError(KmstoolText.CIPHERTEXT_NOT_BASE64, hint=f"Ciphertext: {error}") from None
        raise FieldError(str(error)) from None
    if not spec.least <= len(data) <= (len(data) if spec.most is None else spec.most):
        hint = spec.too_long_hint if len(data) > spec.least else None
        raise FieldError(f"expected {spec.least} to {spec.most} bytes, got {len(data)}", hint=hint)
    return data


def _read_number(spec: Field, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise FieldError(f"expected a number, got {type(value).__name__}")
    if not 1 <= value <= (spec.most or value):
        raise FieldError(f"expected a number from 1 to {spec.most}")
    return value


def _read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise FieldError(f"expected true or false, got {type(value).__name__}")
    return value


def _read_context(value: object) -> dict[str, str] | None:
    """Return the context, or None if it is empty. As kmstool does, accept the JSON text of an object, too."""
    if isinstance(value, str):
        try:
            value = decode_json(value)
        except ValueError:
            raise FieldError("expected an object, got text that is not strict JSON") from None
    if not isinstance(value, dict):
        raise FieldError(f"expected an object, got {type(value).__name__}")
    for content in value.values():
        if not isinstance(content, str):
            raise FieldError(f"expected strings as values, got {type(content).__name__}")
    return value or None


def reply_bytes(reply: JsonObject, name: str) -> bytes | None:
    """Return the bytes in a field of a reply, or None if the field is absent.

    Raises:
        WireError: the field is not base64.
    """
    if reply.get(name) is None:
        return None
    try:
        return decode_base64(reply[name])
    except ValueError as error:
        raise WireError(f"reply: {name}: {error}") from None
