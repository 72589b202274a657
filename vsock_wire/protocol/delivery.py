"""How much of a secret leaves the enclave, and the fields of a reply that carry it (pure)."""

from __future__ import annotations

import enum
import re

from vsock_wire.errors import WireError, quoted
from vsock_wire.protocol.json_codec import JsonObject, encode_base64
from vsock_wire.protocol.messages import reply_text

MESSAGE = "Message"
"""The field of a reply that carries the secret: the plaintext, data key, private key, random bytes or shared secret."""
DIGEST = "Digest"
"""The field in its place where only a digest leaves the enclave: SHA-256 in hexadecimal."""
OUTPUT = "Output"
"""The field of a KmsResult for what a program in the enclave made of the secret; in a message it travels as Message."""
DELIVERY = "Delivery"
"""The field of a reply that names its Delivery; absent, as from kmstool in C, it is ``reply``."""
ACCEPTS = "Accepts"
"""The field of a request that lists the deliveries without a Message that the client can read. kmstool in C sends none,
and aborts on a reply that says Ok without a Message; an enclave refuses its request instead."""
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Delivery(enum.StrEnum):
    """What leaves the enclave of a secret that KMS delivered; set when the enclave starts, never by a request."""

    REPLY = "reply"
    DIGEST = "digest"
    EXEC = "exec"


WITHOUT_MESSAGE = (Delivery.DIGEST,)
"""The deliveries whose reply has no MESSAGE."""


def encode_secret(secret: bytes) -> JsonObject:
    """Return the fields of a reply that carry ``secret`` itself, as kmstool's do."""
    return {MESSAGE: encode_base64(secret)}


def encode_digest(sha256_hex: str) -> JsonObject:
    """Return the fields of a reply that carry the SHA-256 digest of a secret only, in hexadecimal.

    Whoever can guess the secret can check the guess against it: it hides keys, not passwords.
    """
    return {DELIVERY: Delivery.DIGEST, DIGEST: sha256_hex}


def encode_output(output: bytes) -> JsonObject:
    """Return the fields of a reply that carry what a program in the enclave made of the secret.

    It travels as Message, so that kmstool in C can print it too.
    """
    return {DELIVERY: Delivery.EXEC, MESSAGE: encode_base64(output)}


def parse_delivery(reply: JsonObject) -> Delivery:
    """Return the delivery that a reply names.

    Raises:
        WireError: it is none that this version knows.
    """
    name = reply_text(reply, DELIVERY) or Delivery.REPLY
    try:
        return Delivery(name)
    except ValueError:
        raise WireError(f"reply: {DELIVERY}: expected one of {', '.join(Delivery)}, got {quoted(name)}") from None


def parse_digest(reply: JsonObject) -> str:
    """Return the digest of a reply, in hexadecimal.

    Raises:
        WireError: there is none, or it is no SHA-256 digest in lower-case hexadecimal.
    """
    digest = reply_text(reply, DIGEST) or ""
    if not _DIGEST.fullmatch(digest):
        raise WireError(f"reply: {DIGEST}: expected 64 hexadecimal digits in lower case")
    return digest
