"""The KMS operations of the wire protocol: their requests and replies, field by field (pure).

One table serves both ends. A field of a message has the name and meaning of KMS's own parameter, but for kmstool's
``Ciphertext`` and ``Message``; bytes travel as base64. Source: AWS KMS API reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vsock_wire.errors import WireError
from vsock_wire.protocol.delivery import (
    ACCEPTS,
    DIGEST,
    MESSAGE,
    OUTPUT,
    WITHOUT_MESSAGE,
    Delivery,
    encode_secret,
    parse_delivery,
    parse_digest,
)
from vsock_wire.protocol.fields import Field, FieldError, Kind, encode_plain, read_named_field, reply_bytes
from vsock_wire.protocol.json_codec import JsonObject, encode_base64
from vsock_wire.protocol.messages import reply_text
from vsock_wire.protocol.vocabulary import KmstoolText, Operation, RequestError

MAX_CIPHERTEXT_BYTES = 6_144
"""Decrypt: CiphertextBlob."""
MAX_PLAINTEXT_BYTES = 4_096
"""Encrypt: Plaintext."""
MAX_RANDOM_BYTES = 1_024
"""GenerateRandom and GenerateDataKey: NumberOfBytes."""
MAX_PUBLIC_KEY_BYTES = 8_192
"""DeriveSharedSecret: PublicKey."""
MAX_GRANT_TOKENS = 10
"""GrantTokens, of every operation that has them."""

TIMEOUT_S_FIELD = "TimeoutS"
"""The field of a request that bounds, in seconds, all tries of KMS together; without it only their number is bound."""
MAX_TIMEOUT_S = 86_400


class KmsOperation(NamedTuple):
    """One operation of KMS as it travels.

    Attributes:
        request: the fields of the request beside Operation.
        reply: the fields of the reply beside Status and Message.
        delivers: KMS's name of what the reply's Message carries, or None where there is none.
        failure: the text that the Message of an error reply starts with.
    """

    request: tuple[Field, ...]
    reply: tuple[Field, ...]
    delivers: str | None
    failure: str


@dataclass(frozen=True)
class KmsRequest:
    """A request to KMS; ``repr`` shows the names of its parameters only.

    Attributes:
        operation: which.
        parameters: by KMS's names, as boto3 takes them; absent ones are left out.
    """

    operation: Operation
    parameters: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class KmsResult:
    """What an operation gives; ``repr`` does not show the secret.

    Attributes:
        secret: what only the caller of the enclave may see, or None where there is none or the enclave keeps it.
        fields: the other fields of KMS's answer, by the names they have in messages; text or bytes. Where the enclave
            keeps the secret, DIGEST or OUTPUT is among them.
    """

    secret: bytes | None = field(repr=False)
    fields: Mapping[str, str | bytes] = field(default_factory=dict)

    @property
    def key_id(self) -> str | None:
        """ARN of the KMS key that was used."""
        key_id = self.fields.get("KeyId")
        return key_id if isinstance(key_id, str) else None


_KEY_ID = Field("KeyId", Kind.TEXT)
_KEY_ID_REQUIRED = Field("KeyId", Kind.TEXT, is_required=True)
_CONTEXT = Field("EncryptionContext", Kind.CONTEXT)
_ALGORITHM = Field("EncryptionAlgorithm", Kind.TEXT)
_GRANT_TOKENS = Field("GrantTokens", Kind.TEXTS, MAX_GRANT_TOKENS)
_AGREEMENT = Field("KeyAgreementAlgorithm", Kind.TEXT)
_CIPHERTEXT_BLOB = Field("CiphertextBlob", Kind.BYTES)

KMS_OPERATIONS: Mapping[Operation, KmsOperation] = {
    Operation.DECRYPT: KmsOperation(
        request=(
            Field("Ciphertext", Kind.BYTES, MAX_CIPHERTEXT_BYTES, is_required=True, kms_name="CiphertextBlob"),
            _CONTEXT,
            _KEY_ID,
            _ALGORITHM,
            _GRANT_TOKENS,
        ),
        reply=(_KEY_ID, _ALGORITHM),
        delivers="Plaintext",
        failure=KmstoolText.DECRYPT_FAILED,
    ),
    Operation.GENERATE_DATA_KEY: KmsOperation(
        request=(
            _KEY_ID_REQUIRED,
            Field("KeySpec", Kind.TEXT),
            Field("NumberOfBytes", Kind.NUMBER, MAX_RANDOM_BYTES),
            _CONTEXT,
            _GRANT_TOKENS,
        ),
        reply=(_CIPHERTEXT_BLOB, _KEY_ID),
        delivers="Plaintext",
        failure="Could not generate data key",
    ),
    Operation.GENERATE_DATA_KEY_PAIR: KmsOperation(
        request=(_KEY_ID_REQUIRED, Field("KeyPairSpec", Kind.TEXT, is_required=True), _CONTEXT, _GRANT_TOKENS),
        reply=(
            Field("PublicKey", Kind.BYTES),
            Field("PrivateKeyCiphertextBlob", Kind.BYTES),
            Field("KeyPairSpec", Kind.TEXT),
            _KEY_ID,
        ),
        delivers="PrivateKeyPlaintext",
        failure="Could not generate data key pair",
    ),
    Operation.GENERATE_RANDOM: KmsOperation(
        request=(Field("NumberOfBytes", Kind.NUMBER, MAX_RANDOM_BYTES, is_required=True),),
        reply=(),
        delivers="Plaintext",
        failure="Could not generate random bytes",
    ),
    Operation.DERIVE_SHARED_SECRET: KmsOperation(
        request=(
            _KEY_ID_REQUIRED,
            Field("PublicKey", Kind.BYTES, MAX_PUBLIC_KEY_BYTES, is_required=True),
            Field("KeyAgreementAlgorithm", Kind.TEXT, is_required=True),
            _GRANT_TOKENS,
        ),
        reply=(_AGREEMENT, _KEY_ID),
        delivers="SharedSecret",
        failure="Could not derive shared secret",
    ),
    Operation.ENCRYPT: KmsOperation(
        request=(
            _KEY_ID_REQUIRED,
            Field("Plaintext", Kind.BYTES, MAX_PLAINTEXT_BYTES, is_required=True),
            _CONTEXT,
            _ALGORITHM,
            _GRANT_TOKENS,
        ),
        reply=(_CIPHERTEXT_BLOB, _KEY_ID, _ALGORITHM),
        delivers=None,
        failure="Could not encrypt plaintext",
    ),
}
"""Every KMS operation of the protocol. All but Encrypt are attested; KMS takes no Recipient for that one."""


def encode_kms_request(request: KmsRequest) -> JsonObject:
    """Return the request as a message, its fields in the order of the table; absent and empty ones are left out."""
    message: JsonObject = {"Operation": request.operation}
    for spec in KMS_OPERATIONS[request.operation].request:
        value = request.parameters.get(spec.parameter)
        if value is not None and value not in ({}, (), []):
            message[spec.name] = encode_base64(value) if spec.kind is Kind.BYTES else encode_plain(value)
    if KMS_OPERATIONS[request.operation].delivers is not None:
        message[ACCEPTS] = list(WITHOUT_MESSAGE)
    return message


def check_accepted(operation: Operation, message: JsonObject, delivery: Delivery) -> None:
    """Refuse a request whose client could not read the reply.

    Raises:
        RequestError: the reply would have no Message, and the client does not say that it can do without.
    """
    if KMS_OPERATIONS[operation].delivers is None or delivery not in WITHOUT_MESSAGE:
        return
    accepted = message.get(ACCEPTS)
    if not isinstance(accepted, list) or delivery not in accepted:
        raise RequestError(
            f"this enclave returns only the {delivery} of a plaintext, which this client cannot read",
            hint=f'use the kmstool-instance of this project, or send "{ACCEPTS}": ["{delivery}"]',
        )


def parse_kms_request(operation: Operation, message: JsonObject) -> KmsRequest:
    """Read a request to KMS; fields it does not know are ignored, as by kmstool.

    Args:
        operation: what ``parse_operation`` returned; one of KMS_OPERATIONS.
        message: the request.

    Raises:
        RequestError: a required field is missing, or a field is not of its type or out of bounds. The text starts with
            that of the operation's failure, or is kmstool's own.
    """
    failure = KMS_OPERATIONS[operation].failure
    parameters: dict[str, Any] = {}
    for spec in KMS_OPERATIONS[operation].request:
        try:
            value = read_named_field(spec, message)
        except FieldError as error:
            raise RequestError(f"{failure}: {error}") from None
        if value is not None:
            parameters[spec.parameter] = value
    return KmsRequest(operation, parameters)


def parse_timeout_s(message: JsonObject) -> float | None:
    """Return how many seconds a request gives KMS, or None where it does not say.

    Raises:
        RequestError: it is no number above 0 and up to MAX_TIMEOUT_S.
    """
    timeout_s = message.get(TIMEOUT_S_FIELD)
    if timeout_s is None:
        return None
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise RequestError(f"{TIMEOUT_S_FIELD}: expected a number above 0 and at most {MAX_TIMEOUT_S}")
    return float(timeout_s)


def encode_kms_result(
    operation: Operation, answer: Mapping[str, Any], deliver: Callable[[bytes], JsonObject] = encode_secret
) -> JsonObject:
    """Return the fields of the reply beside Status.

    Args:
        operation: what was done.
        answer: KMS's, as boto3 returns it.
        deliver: returns the fields for the secret; what it raises goes through.
    """
    spec = KMS_OPERATIONS[operation]
    fields: JsonObject = {} if spec.delivers is None else deliver(answer[spec.delivers])
    for reply_field in spec.reply:
        value = answer.get(reply_field.parameter)
        if value is not None:
            fields[reply_field.name] = encode_base64(value) if reply_field.kind is Kind.BYTES else value
    return fields


def parse_kms_result(operation: Operation, reply: JsonObject) -> KmsResult:
    """Read the fields of a reply that says Ok.

    Raises:
        WireError: the Message or Digest that is due is missing, or a field is not of its type.
    """
    spec = KMS_OPERATIONS[operation]
    delivery = parse_delivery(reply)
    fields: dict[str, str | bytes] = {}
    for reply_field in spec.reply:
        is_bytes = reply_field.kind is Kind.BYTES
        value = reply_bytes(reply, reply_field.name) if is_bytes else reply_text(reply, reply_field.name)
        if value is not None:
            fields[reply_field.name] = value
    if spec.delivers is None:
        return KmsResult(None, fields)
    if delivery is Delivery.DIGEST:
        return KmsResult(None, {DIGEST: parse_digest(reply), **fields})
    delivered = reply_bytes(reply, MESSAGE)
    if delivered is None:
        raise WireError(f"reply: {MESSAGE}: missing")
    return KmsResult(None, {OUTPUT: delivered, **fields}) if delivery is Delivery.EXEC else KmsResult(delivered, fields)
