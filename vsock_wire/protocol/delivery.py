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
"""The field that replaces it where only a digest leaves the enclave: SHA-256 in hexadecimal."""
OUTPUT = "Output"
"""The field of a KmsResult for the output of a program in the enclave. In a message, that output travels as Message."""
DELIVERY = "Delivery"
"""The field of a reply that names its Delivery. kmstool in C does not send it, which means ``reply``."""
ACCEPTS = "Accepts"
"""The field of a request that lists which deliveries without a Message the client can read. kmstool in C does not send
it, and would abort on a reply with status Ok but no Message, so an enclave with such a delivery refuses its request."""
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
LINE_START = b"deliver="
"""How the line begins that kmstool-enclave puts before the user data of a document."""
KEY_OF_CALLER = " key=caller"
"""What that line says besides if the document's public key is not the enclave's own."""


class Delivery(enum.StrEnum):
    """How much of a secret leaves the enclave. It is set when the enclave starts; no request can change it."""

    REPLY = "reply"
    DIGEST = "digest"
    EXEC = "exec"


WITHOUT_MESSAGE = (Delivery.DIGEST,)
"""The deliveries whose reply has no MESSAGE."""


_LINE = re.compile(
    rb"%s(?:%s)(?:%s)?\n" % (LINE_START, "|".join(Delivery).encode("ascii"), KEY_OF_CALLER.encode("ascii"))
)


def encode_delivery_line(delivery: Delivery, *, is_key_of_caller: bool) -> bytes:
    """Return the line that kmstool-enclave puts before the user data of its attestation documents.

    Args:
        delivery: of the enclave.
        is_key_of_caller: whether the document's public key came with the request, so that nothing says who has its
            private half.
    """
    return LINE_START + f"{delivery}{KEY_OF_CALLER if is_key_of_caller else ''}\n".encode("ascii")


def split_delivery_line(user_data: bytes) -> tuple[bytes, bytes]:
    """Return the line that kmstool-enclave puts before user data, no bytes if there is none, and the rest."""
    match = _LINE.match(user_data)
    end = 0 if match is None else match.end()
    return user_data[:end], user_data[end:]


def names_key_of_caller(user_data: bytes) -> bool:
    """Return whether user data begin with the enclave's line, and it says that the public key came with the request."""
    line, _ = split_delivery_line(user_data)
    return line.endswith(f"{KEY_OF_CALLER}\n".encode("ascii"))


def encode_secret(secret: bytes) -> JsonObject:
    """Return the fields of a reply that carry ``secret`` itself, as in kmstool."""
    return {MESSAGE: encode_base64(secret)}


def encode_digest(sha256_hex: str) -> JsonObject:
    """Return the fields of a reply that carry only the SHA-256 digest of a secret, in hexadecimal.

    Anyone can check a guess of the secret against its digest, so a digest hides keys but not passwords.
    """
    return {DELIVERY: Delivery.DIGEST, DIGEST: sha256_hex}


def encode_output(output: bytes) -> JsonObject:
    """Return the fields of a reply that carry the output of a program in the enclave.

    The output travels as Message, so that kmstool in C can print it, too.
    """
    return {DELIVERY: Delivery.EXEC, MESSAGE: encode_base64(output)}


def parse_delivery(reply: JsonObject) -> Delivery:
    """Return the delivery that a reply names.

    Raises:
        WireError: this version does not know that delivery.
    """
    name = reply_text(reply, DELIVERY) or Delivery.REPLY
    try:
        return Delivery(name)
    except ValueError:
        raise WireError(f"reply: {DELIVERY}: expected one of {', '.join(Delivery)}, got {quoted(name)}") from None


def parse_digest(reply: JsonObject) -> str:
    """Return the digest of a reply, in hexadecimal.

    Raises:
        WireError: the digest is missing, or is not a SHA-256 digest in lower-case hexadecimal.
    """
    digest = reply_text(reply, DIGEST) or ""
    if not _DIGEST.fullmatch(digest):
        raise WireError(f"reply: {DIGEST}: expected 64 hexadecimal digits in lower case")
    return digest
