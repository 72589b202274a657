"""Requests and replies of the wire protocol, to and from JSON objects (pure).

Both ends read a message with ``decode_message``, and then with the ``parse_...`` function for what they expect.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from vsock_wire.errors import WireError, quoted
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.vocabulary import (
    ID,
    STATUS_ERROR,
    STATUS_OK,
    TRIES,
    EnclaveCode,
    KmstoolText,
    Operation,
    RequestError,
)

MAX_ID_CHARS = 64
MAX_REGION_CHARS = 32
"""The longest name of a region so far has 15 characters."""
_REGION_NAME = re.compile(r"[a-z]{2,}(?:-[a-z]+)+-[0-9]+", re.ASCII)
MAX_REQUEST_ID_CHARS = 64
"""How much of KMS's request ID an error shows; they are UUIDs."""
_CREDENTIAL = re.compile(r"[!-~]+", re.ASCII)
"""What an HTTP header, in which credentials are sent, can contain."""


@dataclass(frozen=True, repr=False)
class Credentials:
    """AWS credentials. Neither ``repr`` nor ``str`` shows any part of them.

    Attributes:
        access_key_id: the AWS access key ID.
        secret_access_key: the AWS secret access key.
        session_token: the session token of temporary credentials, or None.
        expiration: when they expire, as ISO 8601 in UTC, or None if that is unknown.
    """

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    expiration: str | None = None

    def __repr__(self) -> str:
        return "Credentials(...)"


class SetClient(NamedTuple):
    """A SetClient request: the credentials, and the region if the enclave does not have its own."""

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


class ErrorReply(NamedTuple):
    """An error reply. kmstool in C sends only ``message``, which may be empty.

    Attributes:
        message: text for people; starts with kmstool's text if kmstool has one for the failure.
        code: code for programs: one of EnclaveCode, or KMS's or the NSM's own.
        service: what refused the request, one of Service.
        http_status: HTTP status of KMS's response.
        request_id: request ID of KMS's response.
        hint: what the reader can do about the error.
        tries: how many requests were sent to KMS.
        reason: why KMS refused, if its code leaves that open: one of ``refusals.row.Reason``.
    """

    message: str
    code: str | None = None
    service: str | None = None
    http_status: int | None = None
    request_id: str | None = None
    hint: str | None = None
    tries: int | None = None
    reason: str | None = None

    def to_message(self) -> JsonObject:
        """Return the reply as a message."""
        return _without_none(
            {
                "Status": STATUS_ERROR,
                "Message": self.message,
                "Code": self.code,
                "Reason": self.reason,
                "Service": self.service,
                "HttpStatus": self.http_status,
                "RequestId": self.request_id,
                "Hint": self.hint,
                TRIES: self.tries,
            }
        )


def call_details(http_status: int | None, request_id: str | None, tries: int | None) -> str:
    """Return what AWS support asks for, in parentheses, to follow the text of an error; empty if nothing is known."""
    details = []
    if http_status is not None:
        details.append(f"HTTP {http_status}")
    if request_id:
        details.append(f"request id {request_id[:MAX_REQUEST_ID_CHARS]}")
    if tries is not None and tries > 1:
        details.append(f"after {tries} attempts")
    return f" ({', '.join(details)})" if details else ""


def is_credential(text: str) -> bool:
    """Return whether ``text`` can be part of credentials: one or more printable ASCII characters without blanks."""
    return _CREDENTIAL.fullmatch(text) is not None


def is_region_name(text: str) -> bool:
    """Return whether a text has the form of an AWS region's name; which regions there are, the enclave knows."""
    return len(text) <= MAX_REGION_CHARS and _REGION_NAME.fullmatch(text) is not None


def parse_operation(message: JsonObject) -> Operation:
    """Return the operation of a request.

    Raises:
        RequestError: Operation is missing, is not a string, or is unknown to this version.
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
    """Return the Id that the reply must echo, or None if the request has none.

    Raises:
        RequestError: the Id is not a string, or is longer than MAX_ID_CHARS.
    """
    request_id = message.get(ID)
    if request_id is None:
        return None
    if not isinstance(request_id, str) or len(request_id) > MAX_ID_CHARS:
        raise RequestError("Id is wrong type", hint=f"expected a string of at most {MAX_ID_CHARS} characters")
    return request_id


def parse_set_client(message: JsonObject) -> SetClient:
    """Parse a SetClient request.

    Raises:
        RequestError: the credentials are missing, empty or not strings, or the region is not a string.
    """
    credentials = Credentials(
        access_key_id=_credential(message, "AwsAccessKeyId"),
        secret_access_key=_credential(message, "AwsSecretAccessKey"),
        session_token=_optional_credential(message, "AwsSessionToken"),
        expiration=_optional_credential(message, "Expiration"),
    )
    return SetClient(credentials, parse_region(message))


def parse_region(message: JsonObject) -> str | None:
    """Return the AwsRegion of a request, or None if it is absent or empty.

    Raises:
        RequestError: the region is not a string.
    """
    region = message.get("AwsRegion")
    if region is not None and not isinstance(region, str):
        raise RequestError(
            KmstoolText.REGION_CONFLICT, EnclaveCode.REGION_CONFLICT, hint="AwsRegion: expected a string"
        )
    return region or None


def parse_reply(message: JsonObject) -> JsonObject | ErrorReply:
    """Return the fields of a reply with status Ok, or the error that the reply carries.

    Raises:
        WireError: Status is neither Ok nor Error, or a field of an error reply has the wrong type.
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
        reason=reply_text(message, "Reason"),
    )


def reply_text(fields: JsonObject, name: str) -> str | None:
    """Return a text field of a reply, or None if it is absent.

    Raises:
        WireError: the field is not a string.
    """
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise WireError(f"reply: {name}: expected a string, got {type(value).__name__}")


def _without_none(fields: JsonObject) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None}


def _credential(message: JsonObject, name: str) -> str:
    value = message.get(name)
    if isinstance(value, str) and is_credential(value):
        return value
    raise RequestError(KmstoolText.NO_CREDENTIALS, hint=f"{name}: expected a string of printable ASCII characters")


def _optional_credential(message: JsonObject, name: str) -> str | None:
    """Treat null as absent, as kmstool does, and an empty value as well, which KMS would refuse later."""
    return None if message.get(name) in (None, "") else _credential(message, name)
