"""Checks KMS requests against botocore's model of the KMS API: names, types, lengths, ranges, enumerations (pure).

AWS publishes the model for its SDKs, so AWS decides what a request may contain and which operations take a Recipient.
The texts of broken constraints are AWS's; the texts of other faults are ours if AWS's are not public.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from nitro_simulator.errors import KmsFault, validation_fault
from vsock_wire.errors import quoted
from vsock_wire.protocol.json_codec import JsonObject, decode_base64

REQUIRED_BY_KMS = {"Decrypt": ("CiphertextBlob",), "ReEncrypt": ("CiphertextBlob",)}
"""Optional in newer models, for dry runs without a ciphertext, which the simulator does not support."""


@cache
def kms_service_model() -> ServiceModel:
    """Return the model of the KMS API that came with botocore."""
    loader = Loader(include_default_search_paths=False)  # without ~/.aws/models
    loader.search_paths.append(Loader.BUILTIN_DATA_PATH)
    return ServiceModel(loader.load_service_model("kms", "service-2"), "kms")


def parse_request(operation: str, request: object) -> JsonObject:
    """Read the JSON of a request: check every member, and turn base64 into bytes.

    Null members are left out. Members that the operation does not have are refused, including a Recipient for an
    operation that cannot be attested; whether KMS refuses or ignores those is not documented.

    Args:
        operation: one in the model.
        request: parsed JSON.

    Raises:
        KmsFault: SerializationException for a wrong type, ValidationException for a broken constraint.
    """
    model: OperationModel = kms_service_model().operation_model(operation)
    shape = model.input_shape
    members: JsonObject = _structure(shape, request, "") if isinstance(shape, StructureShape) else {}
    for name in REQUIRED_BY_KMS.get(operation, ()):
        if name not in members:
            raise _missing(_path("", name))
    return members


def _value(shape: Shape, value: object, path: str) -> Any:
    reader = _READERS.get(shape.type_name)
    if reader is None:
        raise validation_fault(f"'{path}': members of type {shape.type_name} are not part of the simulator")
    return reader(shape, value, path)


def _structure(shape: StructureShape, value: object, path: str) -> JsonObject:
    if not isinstance(value, dict):
        raise _wrong_type("an object", value, path)
    present = {name: item for name, item in value.items() if item is not None}
    for name in present:
        if name not in shape.members:
            raise validation_fault(f"{quoted(_path(path, name))} is not a parameter of this operation")
    for name in shape.required_members:
        if name not in present:
            raise _missing(_path(path, name))
    return {name: _value(shape.members[name], item, _path(path, name)) for name, item in present.items()}


def _list(shape: ListShape, value: object, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong_type("a list", value, path)
    _check_range(shape, len(value), path, "have length")
    return [_value(shape.member, item, f"{path}.{index + 1}.member") for index, item in enumerate(value)]


def _map(shape: MapShape, value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong_type("an object", value, path)
    return {name: _value(shape.value, item, f"{path}.value") for name, item in value.items()}


def _string(shape: Shape, value: object, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong_type("a string", value, path)
    choices = shape.metadata.get("enum")
    if choices and value not in choices:
        raise _broken(path, f"Member must satisfy enum value set: [{', '.join(choices)}]", value)
    _check_range(shape, len(value), path, "have length", value)
    pattern = shape.metadata.get("pattern")
    if pattern and re.fullmatch(pattern, value) is None:
        raise _broken(path, f"Member must satisfy regular expression pattern: {pattern}", value)
    return value


def _blob(shape: Shape, value: object, path: str) -> bytes:
    try:
        blob = decode_base64(value)
    except ValueError as error:
        raise KmsFault("SerializationException", f"'{path}': {error}") from None
    _check_range(shape, len(blob), path, "have length")
    return blob


def _integer(shape: Shape, value: object, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type("a whole number", value, path)
    _check_range(shape, value, path, "have value", str(value))
    return value


def _boolean(_shape: Shape, value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type("true or false", value, path)
    return value


_READERS: dict[str, Callable[[Any, object, str], Any]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "blob": _blob,
    "integer": _integer,
    "boolean": _boolean,
}


def _check_range(shape: Shape, size: int, path: str, what: str, value: str | None = None) -> None:
    smallest, largest = shape.metadata.get("min"), shape.metadata.get("max")
    if largest is not None and size > largest:
        raise _broken(path, f"Member must {what} less than or equal to {largest}", value)
    if smallest is not None and size < smallest:
        raise _broken(path, f"Member must {what} greater than or equal to {smallest}", value)


def _broken(path: str, constraint: str, value: str | None) -> KmsFault:
    shown = "" if value is None else f" '{value[:64]}'"
    return validation_fault(
        f"1 validation error detected: Value{shown} at '{path}' failed to satisfy constraint: {constraint}"
    )


def _missing(path: str) -> KmsFault:
    return validation_fault(
        f"1 validation error detected: Value null at '{path}' failed to satisfy constraint: Member must not be null"
    )


def _wrong_type(wanted: str, value: object, path: str) -> KmsFault:
    return KmsFault("SerializationException", f"'{path}': expected {wanted}, got {type(value).__name__}")


def _path(parent: str, name: str) -> str:
    """AWS writes the path of a member in lower camel case."""
    own = name[:1].lower() + name[1:]
    return f"{parent}.{own}" if parent else own
