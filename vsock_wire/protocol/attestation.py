"""The request for an attestation document and its reply (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from vsock_wire.errors import WireError
from vsock_wire.protocol.fields import Field, FieldError, Kind, read_named_field, reply_bytes
from vsock_wire.protocol.json_codec import JsonObject, encode_base64
from vsock_wire.protocol.vocabulary import Operation, RequestError

MAX_ATTESTED_BYTES = 1_024
"""Maximum length of the nonce, of the user data and of the public key. nitro_attestation has this constant as well,
since it imports none of the other packages; a test compares them.
Source: "Nitro Enclaves Attestation Process", section 2.2, whose CDDL has 0 to 1,024 bytes for all three. Section 3.2.2
has 512 for two of them, but genuine documents contain more."""

_ATTESTATION_FIELDS = {
    "nonce": Field("Nonce", Kind.BYTES, MAX_ATTESTED_BYTES, least=0),
    "user_data": Field("UserData", Kind.BYTES, MAX_ATTESTED_BYTES, least=0),
    "public_key": Field("PublicKey", Kind.BYTES, MAX_ATTESTED_BYTES, least=0),
    "is_user_data_bare": Field("BareUserData", Kind.FLAG),
}


@dataclass(frozen=True)
class AttestationRequest:
    """A request for an attestation document. A field of no bytes is a value; None leaves it out.

    Attributes:
        nonce: what the document carries to prove that it is fresh.
        user_data: any other data that the document carries.
        public_key: the caller's key, which the document carries instead of the enclave's own.
        is_user_data_bare: whether the user data goes without the enclave's own line in front.
    """

    nonce: bytes | None = None
    user_data: bytes | None = None
    public_key: bytes | None = None
    is_user_data_bare: bool = False


def encode_attestation_request(request: AttestationRequest) -> JsonObject:
    """Return the request as a message."""
    message: JsonObject = {"Operation": Operation.GET_ATTESTATION_DOCUMENT}
    for attribute, spec in _ATTESTATION_FIELDS.items():
        value = getattr(request, attribute)
        if isinstance(value, bytes):
            message[spec.name] = encode_base64(value)
        elif value:
            message[spec.name] = True
    return message


def parse_attestation_request(message: JsonObject) -> AttestationRequest:
    """Parse a request for an attestation document.

    Raises:
        RequestError: a field is not base64, is longer than the module accepts, or is not of its type.
    """
    try:
        fields = {attribute: read_named_field(spec, message) for attribute, spec in _ATTESTATION_FIELDS.items()}
    except FieldError as error:
        raise RequestError(f"Could not get attestation document: {error}") from None
    return AttestationRequest(**{name: value for name, value in fields.items() if value is not None})


def parse_attestation_reply(reply: JsonObject) -> bytes:
    """Return the attestation document of a reply with status Ok, without verifying it.

    Raises:
        WireError: the document is missing or not base64.
    """
    document = reply_bytes(reply, "Document")
    if not document:
        raise WireError("reply: Document: missing")
    return document
