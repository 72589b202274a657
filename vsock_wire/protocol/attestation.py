"""The request for an attestation document and its reply (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from vsock_wire.errors import WireError
from vsock_wire.protocol.fields import Field, FieldError, Kind, read_named_field, reply_bytes
from vsock_wire.protocol.json_codec import JsonObject, encode_base64
from vsock_wire.protocol.vocabulary import Operation, RequestError

MAX_ATTESTED_BYTES = 512
"""Maximum length of the nonce and of the user data. Source: AWS Nitro Enclaves user guide, attestation document."""

_ATTESTATION_FIELDS = (
    Field("Nonce", Kind.BYTES, MAX_ATTESTED_BYTES),
    Field("UserData", Kind.BYTES, MAX_ATTESTED_BYTES),
)


@dataclass(frozen=True)
class AttestationRequest:
    """A request for an attestation document.

    Attributes:
        nonce: what the document carries to prove that it is fresh.
        user_data: any other data that the document carries.
    """

    nonce: bytes | None = None
    user_data: bytes | None = None


def encode_attestation_request(request: AttestationRequest) -> JsonObject:
    """Return the request as a message."""
    message: JsonObject = {"Operation": Operation.GET_ATTESTATION_DOCUMENT}
    for name, value in (("Nonce", request.nonce), ("UserData", request.user_data)):
        if value is not None:
            message[name] = encode_base64(value)
    return message


def parse_attestation_request(message: JsonObject) -> AttestationRequest:
    """Parse a request for an attestation document.

    Raises:
        RequestError: a field is not base64, or is longer than the module accepts.
    """
    try:
        return AttestationRequest(*(read_named_field(spec, message) for spec in _ATTESTATION_FIELDS))
    except FieldError as error:
        raise RequestError(f"Could not get attestation document: {error}") from None


def parse_attestation_reply(reply: JsonObject) -> bytes:
    """Return the attestation document of a reply with status Ok, without verifying it.

    Raises:
        WireError: the document is missing or not base64.
    """
    document = reply_bytes(reply, "Document")
    if not document:
        raise WireError("reply: Document: missing")
    return document
