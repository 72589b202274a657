"""Messages of the wire protocol: strict JSON objects, and the requests and replies they stand for (pure).

The protocol is kmstool's, extended by fields and operations that its C programs ignore. Both ends read a message with
``decode_message`` and then with the ``parse_...`` of what they expect; kmstool's own error texts are kept as they are.
"""

from __future__ import annotations

import binascii
import enum
import json
import math
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from vsock_wire.errors import WireError, quoted

JsonObject: TypeAlias = dict[str, Any]

PROTOCOL_VERSION = 2
"""Announced in the reply to SetClient; kmstool in C announces none and counts as 1."""
MAX_ID_CHARS = 64
DEFAULT_REGION = "us-east-1"
"""kmstool's own, where neither side sets a region."""

_CREDENTIAL = re.compile(r"[!-~]+", re.ASCII)
"""What can stand in an HTTP header, where credentials go."""

STATUS_OK = "Ok"
MAX_IN_FLIGHT = 16
"""Requests with an Id that a server has in work for one connection; it reads no further one until one is answered. Far
more than the time on the way to KMS can hide, and few enough that 256 connections leave each other room."""
TRIES = "Tries"
"""The field of a reply, Ok or Error, that says how many requests KMS was sent for it."""
STATUS_ERROR = "Error"


class Operation(enum.StrEnum):
    """Operations this version of the protocol knows."""

    SET_CLIENT = "SetClient"
    DECRYPT = "Decrypt"
    GENERATE_DATA_KEY = "GenerateDataKey"
    GENERATE_DATA_KEY_PAIR = "GenerateDataKeyPair"
    GENERATE_RANDOM = "GenerateRandom"
    DERIVE_SHARED_SECRET = "DeriveSharedSecret"  # noqa: S105 - the name of an operation
    ENCRYPT = "Encrypt"
    GET_ATTESTATION_DOCUMENT = "GetAttestationDocument"
    DESCRIBE = "Describe"
    DIAGNOSE = "Diagnose"


class Service(enum.StrEnum):
    """Who refused: the ``Service`` of an error reply."""

    KMS = "kms"
    NSM = "nsm"
    ENCLAVE = "enclave"


class EnclaveCode(enum.StrEnum):
    """Machine codes of errors that arise in the enclave itself; KMS's and the NSM's own codes travel as they are."""

    INVALID_MESSAGE = "InvalidMessage"
    INVALID_REQUEST = "InvalidRequest"
    UNKNOWN_OPERATION = "UnknownOperation"
    CLIENT_NOT_SET = "ClientNotSet"
    REGION_CONFLICT = "RegionConflict"
    CLIENT_FAILED = "ClientFailed"
    PROXY_UNREACHABLE = "ProxyUnreachable"
    KMS_UNREACHABLE = "KmsUnreachable"
    TLS_FAILED = "TlsFailed"
    RECIPIENT_MISSING = "CiphertextForRecipientMissing"
    RECIPIENT_UNREADABLE = "CiphertextForRecipientUnreadable"
    DELIVERY_FAILED = "DeliveryFailed"
    BUSY = "TooManyConnections"
    INTERNAL = "InternalError"


EXPIRED_TOKEN = "ExpiredTokenException"  # noqa: S105 - KMS's name of an error
KMS_REFUSAL_CODES = frozenset(
    {
        "AccessDeniedException",
        EXPIRED_TOKEN,
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        "UnrecognizedClientException",
    }
)
"""KMS codes that refuse the caller or its enclave rather than the request. Source: KMS API reference, common errors."""


class KmstoolText(enum.StrEnum):
    """Texts of kmstool in C, to the letter, with which the Message of the same failure starts here."""

    INVALID_JSON = "Error reading JSON object"
    NOT_AN_OBJECT = "JSON is wrong type"
    NO_OPERATION = "JSON structure incomplete"
    OPERATION_NOT_A_STRING = "Operation is wrong type"
    UNKNOWN_OPERATION = "Operation not recognized"
    NO_CREDENTIALS = "Could not read credentials"
    REGION_CONFLICT = "Could not set region correctly, check configuration."
    CLIENT_FAILED = "Could not create new client"
    CLIENT_NOT_SET = "Client not initialized"
    NO_CIPHERTEXT = "Message does not contain a Ciphertext"
    CIPHERTEXT_NOT_BASE64 = "Ciphertext not a base64 string"
    DECRYPT_FAILED = "Could not decrypt ciphertext"


class RequestError(WireError):
    """A request is not one this protocol allows; its text is the Message of the reply.

    Attributes:
        code: the machine code of the reply.
    """

    def __init__(self, text: str, code: EnclaveCode = EnclaveCode.INVALID_REQUEST, *, hint: str | None = None) -> None:
        super().__init__(text, hint=hint)
        self.code = code


@dataclass(frozen=True, repr=False)
class Credentials:
    """AWS credentials. Neither ``repr`` nor ``str`` shows any part of them.

    Attributes:
        access_key_id: the AWS access key id.
        secret_access_key: the AWS secret access key.
        session_token: of temporary credentials, else None.
        expiration: when they end, ISO 8601 in UTC, or None where that is not known.
    """

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    expiration: str | None = None

    def __repr__(self) -> str:
        return "Credentials(...)"


@dataclass(frozen=True)
class SetClient:
    """A SetClient request: the credentials, and the region where the enclave has none of its own."""

    credentials: Credentials
    region: str | None = None

    def to_message(self) -> JsonObject:
        """Return the request as a message, in the order kmstool writes its fields."""
        return _without_none(
            {
                "Operation": Operation.SET_CLIENT,
                "AwsAccessKeyId": self.credentials.access_key_id,
                "AwsSecretAccessKey": self.credentials.secret_access_key,
                "AwsSessionToken": self.credentials.session_token,
                "Expiration": self.credentials.expiration,
                "AwsRegion": self.region,
            }
        )


@dataclass(frozen=True)
class ErrorReply:
    """An error reply. Only ``message`` may be expected of kmstool in C, and even that may be empty.

    Attributes:
        message: human text; starts with kmstool's text where it has one for the failure.
        code: machine code: one of EnclaveCode, or KMS's or the NSM's own.
        service: who refused, one of Service.
        http_status: of KMS's answer.
        request_id: of KMS's answer.
        hint: what the reader can do about it.
        tries: how many requests KMS was sent.
    """

    message: str
    code: str | None = None
    service: str | None = None
    http_status: int | None = None
    request_id: str | None = None
    hint: str | None = None
    tries: int | None = None

    def to_fields(self) -> JsonObject:
        """Return the fields of the reply beside Status."""
        return _without_none(
            {
                "Message": self.message,
                "Code": self.code,
                "Service": self.service,
                "HttpStatus": self.http_status,
                "RequestId": self.request_id,
                "Hint": self.hint,
                TRIES: self.tries,
            }
        )


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


def is_credential(text: str) -> bool:
    """Return whether ``text`` can be a part of credentials: one or more printable ASCII characters, no blank."""
    return _CREDENTIAL.fullmatch(text) is not None


def parse_operation(message: JsonObject) -> Operation:
    """Return which operation a request asks for.

    Raises:
        RequestError: there is no Operation, it is no string, or it is none this version knows.
    """
    name = message.get("Operation")
    if name is None:
        raise RequestError(KmstoolText.NO_OPERATION, hint="expected a field Operation")
    if not isinstance(name, str):
        raise RequestError(KmstoolText.OPERATION_NOT_A_STRING, hint=f"expected a string, got {type(name).__name__}")
    try:
        return Operation(name)
    except ValueError:
        raise RequestError(
            KmstoolText.UNKNOWN_OPERATION,
            EnclaveCode.UNKNOWN_OPERATION,
            hint=f"expected one of {', '.join(Operation)}, got {quoted(name)}",
        ) from None


def parse_request_id(message: JsonObject) -> str | None:
    """Return the Id that the reply is to echo, or None where the request has none.

    Raises:
        RequestError: the Id is no string or longer than MAX_ID_CHARS.
    """
    request_id = message.get("Id")
    if request_id is None:
        return None
    if not isinstance(request_id, str) or len(request_id) > MAX_ID_CHARS:
        raise RequestError("Id is wrong type", hint=f"expected a string of at most {MAX_ID_CHARS} characters")
    return request_id


def parse_set_client(message: JsonObject) -> SetClient:
    """Read a SetClient request.

    Raises:
        RequestError: the credentials are missing, empty or no strings, or the region is no string.
    """
    credentials = Credentials(
        access_key_id=_credential(message, "AwsAccessKeyId"),
        secret_access_key=_credential(message, "AwsSecretAccessKey"),
        session_token=_optional_credential(message, "AwsSessionToken"),
        expiration=_optional_credential(message, "Expiration"),
    )
    return SetClient(credentials, parse_region(message))


def parse_region(message: JsonObject) -> str | None:
    """Return the AwsRegion of a request, or None where it has none; an empty one counts as none.

    Raises:
        RequestError: it is no string.
    """
    region = message.get("AwsRegion")
    if region is not None and not isinstance(region, str):
        raise RequestError(
            KmstoolText.REGION_CONFLICT, EnclaveCode.REGION_CONFLICT, hint="AwsRegion: expected a string"
        )
    return region or None


def parse_reply(message: JsonObject) -> JsonObject | ErrorReply:
    """Return the fields of a reply that says Ok, or the error it carries.

    Raises:
        WireError: Status is neither Ok nor Error, or a field of an error reply is not of its type.
    """
    status = message.get("Status")
    if status == STATUS_OK:
        return message
    if status != STATUS_ERROR:
        raise WireError(f"reply: expected Status {STATUS_OK} or {STATUS_ERROR}, got {type(status).__name__}")
    http_status, tries = message.get("HttpStatus"), message.get(TRIES)
    return ErrorReply(
        message=reply_text(message, "Message") or "",
        code=reply_text(message, "Code"),
        service=reply_text(message, "Service"),
        http_status=http_status if isinstance(http_status, int) else None,
        request_id=reply_text(message, "RequestId"),
        hint=reply_text(message, "Hint"),
        tries=tries if isinstance(tries, int) else None,
    )


def reply_text(fields: JsonObject, name: str) -> str | None:
    """Return a text field of a reply, or None where it is absent.

    Raises:
        WireError: it is no string.
    """
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise WireError(f"reply: {name}: expected a string, got {type(value).__name__}")


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


def _without_none(fields: JsonObject) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None}


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


def _credential(message: JsonObject, name: str) -> str:
    value = message.get(name)
    if isinstance(value, str) and is_credential(value):
        return value
    raise RequestError(KmstoolText.NO_CREDENTIALS, hint=f"{name}: expected a string of printable ASCII characters")


def _optional_credential(message: JsonObject, name: str) -> str | None:
    """Like kmstool, count null as absent; an empty token would only be refused later, by KMS."""
    return None if message.get(name) in (None, "") else _credential(message, name)
