"""The KMS operations of the wire protocol: their requests and replies, field by field (pure).

Both ends use one table. A field of a message has the name and meaning of KMS's own parameter, except kmstool's
``Ciphertext`` and ``Message``. Bytes travel as base64. Source: AWS KMS API reference.
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
DATA_KEY_HINT = "generate a data key with genkey, encrypt with its plaintext, and store its ciphertext with the data"
"""What to do about a longer plaintext."""
MAX_RANDOM_BYTES = 1_024
"""GenerateRandom and GenerateDataKey: NumberOfBytes."""
MAX_PUBLIC_KEY_BYTES = 8_192
"""DeriveSharedSecret: PublicKey."""
MAX_GRANT_TOKENS = 10
"""GrantTokens, in every operation that has them."""

SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT"
"""EncryptionAlgorithm of symmetric keys, and of a request that names none."""

TIMEOUT_S_FIELD = "TimeoutS"
"""The field of a request that limits all attempts to call KMS together, in seconds. Without it, only the number of
attempts is limited."""
MAX_TIMEOUT_S = 86_400


class KmsOperation(NamedTuple):
    """The messages of one KMS operation.

    Attributes:
        request: the fields of the request other than Operation.
        reply: the fields of the reply other than Status and Message.
        delivers: KMS's name for what the reply's Message carries, or None if the reply has no Message.
        failure: the text that the Message of an error reply starts with.
    """

    request: tuple[Field, ...]
    reply: tuple[Field, ...]
    delivers: str | None
    failure: str


@dataclass(frozen=True)
class KmsRequest:
    """A request to KMS; ``repr`` does not show its parameters.

    Attributes:
        operation: the operation to call.
        parameters: the parameters that are present, by KMS's names and as boto3 takes them.
    """

    operation: Operation
    parameters: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class KmsResult:
    """The result of an operation; ``repr`` does not show the secret.

    Attributes:
        secret: what only the caller of the enclave may see; None if there is no secret or the enclave keeps it.
        fields: the other fields of KMS's response, by their names in messages, as text or bytes. If the enclave keeps
            the secret, DIGEST or OUTPUT is among them.
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
_DRY_RUN = Field("DryRun", Kind.FLAG)
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
            _DRY_RUN,
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
            _DRY_RUN,
        ),
        reply=(_CIPHERTEXT_BLOB, _KEY_ID),
        delivers="Plaintext",
        failure="Could not generate data key",
    ),
    Operation.GENERATE_DATA_KEY_PAIR: KmsOperation(
        request=(
            _KEY_ID_REQUIRED,
            Field("KeyPairSpec", Kind.TEXT, is_required=True),
            _CONTEXT,
            _GRANT_TOKENS,
            _DRY_RUN,
        ),
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
            _DRY_RUN,
        ),
        reply=(_AGREEMENT, _KEY_ID),
        delivers="SharedSecret",
        failure="Could not derive shared secret",
    ),
    Operation.ENCRYPT: KmsOperation(
        request=(
            _KEY_ID_REQUIRED,
            Field("Plaintext", Kind.BYTES, MAX_PLAINTEXT_BYTES, is_required=True, too_long_hint=DATA_KEY_HINT),
            _CONTEXT,
            _ALGORITHM,
            _GRANT_TOKENS,
            _DRY_RUN,
        ),
        reply=(_CIPHERTEXT_BLOB, _KEY_ID, _ALGORITHM),
        delivers=None,
        failure="Could not encrypt plaintext",
    ),
}
"""Every KMS operation of the protocol. All are attested except Encrypt, for which KMS takes no Recipient."""


def encode_kms_request(request: KmsRequest) -> JsonObject:
    """Return the request as a message, with its fields in the order of the table, without absent and empty ones."""
    message: JsonObject = {"Operation": request.operation}
    for spec in KMS_OPERATIONS[request.operation].request:
        value = request.parameters.get(spec.parameter)
        if value is not None and value not in ({}, (), []):
            message[spec.name] = encode_base64(value) if spec.kind is Kind.BYTES else encode_plain(value)
    if KMS_OPERATIONS[request.operation].delivers is not None:
        message[ACCEPTS] = list(WITHOUT_MESSAGE)
    return message


def check_accepted(operation: Operation, message: JsonObject, delivery: Delivery) -> None:
    """Check that the client can read the reply to its request.

    Raises:
        RequestError: the reply would have no Message, and the request does not say that the client accepts that.
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
    """Parse a request to KMS, ignoring unknown fields as kmstool does.

    Args:
        operation: what ``parse_operation`` returned; one of KMS_OPERATIONS.
        message: the request.

    Raises:
        RequestError: a required field is missing, or a field has the wrong type or is out of bounds. The text starts
            with the operation's failure text, or is kmstool's own.
    """
    failure = KMS_OPERATIONS[operation].failure
    parameters: dict[str, Any] = {}
    for spec in KMS_OPERATIONS[operation].request:
        try:
            value = read_named_field(spec, message)
        except FieldError as error:
            raise RequestError(f"{failure}: {error}", hint=error.hint) from None
        if value is not None:
            parameters[spec.parameter] = value
    return KmsRequest(operation, parameters)


def parse_timeout_s(message: JsonObject) -> float | None:
    """Return how many seconds a request allows for KMS, or None if it sets no limit.

    Raises:
        RequestError: the value is not a number above 0 and at most MAX_TIMEOUT_S.
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
    """Return the fields of the reply other than Status.

    Args:
        operation: the operation that was called.
        answer: KMS's response, as boto3 returns it.
        deliver: returns the fields for the secret; its exceptions propagate.
    """
    spec = KMS_OPERATIONS[operation]
    fields: JsonObject = {} if spec.delivers is None else deliver(answer[spec.delivers])
    for reply_field in spec.reply:
        value = answer.get(reply_field.parameter)
        if value is not None:
            fields[reply_field.name] = encode_base64(value) if reply_field.kind is Kind.BYTES else value
    return fields


def parse_kms_result(operation: Operation, reply: JsonObject) -> KmsResult:
    """Parse a reply with status Ok.

    Raises:
        WireError: the Message or Digest is missing, or a field has the wrong type.
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
