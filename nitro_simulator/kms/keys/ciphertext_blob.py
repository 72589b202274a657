"""The simulator's ciphertext blobs of symmetric keys (pure, except for the random nonce).

AWS does not document its own format; to every client a blob is opaque. Ours is, in order: magic and kind (5 bytes), id
of the key (16), length of the padding (2, big-endian), nonce (12), padding, AES-256-GCM ciphertext with its tag
(16). The associated data is everything before the ciphertext, plus the encryption context.
"""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nitro_simulator.errors import CiphertextError

MATERIAL_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
MAX_PADDING_BYTES = 0xFFFF
MULTI_REGION_PREFIX = "mrk-"
"""How the id of a multi-Region key begins; 32 hexadecimal digits follow. Other ids are UUIDs."""
_MAGIC = b"\xa5SIM\x01"
_MULTI_REGION_MAGIC = b"\xa5SIM\x02"
_HEADER = struct.Struct(f">{len(_MAGIC)}s16sH{NONCE_BYTES}s")
OVERHEAD_BYTES = _HEADER.size + TAG_BYTES
"""How much longer than the plaintext a blob without padding is."""
KMS_OVERHEAD_BYTES = 152
"""How much longer KMS's blobs are, and ours by default: that of a data key of 32 bytes has 184. Clients may rely on it:
a line of 76 characters cannot be a whole ciphertext."""


def seal_blob(
    plaintext: bytes,
    *,
    key_id: str,
    material: bytes,
    encryption_context: Mapping[str, str],
    blob_bytes: int | None = None,
) -> bytes:
    """Encrypt ``plaintext``.

    Args:
        plaintext: any length; the caller enforces KMS's limits.
        key_id: a UUID, or MULTI_REGION_PREFIX and 32 hexadecimal digits.
        material: the key's material, MATERIAL_BYTES bytes.
        encryption_context: bound to the blob; decryption needs an equal one.
        blob_bytes: exact size of the blob, to test limits; None for as many as KMS takes.

    Raises:
        ValueError: the size cannot be reached.
    """
    size = KMS_OVERHEAD_BYTES + len(plaintext) if blob_bytes is None else blob_bytes
    padding_bytes = size - OVERHEAD_BYTES - len(plaintext)
    if not 0 <= padding_bytes <= MAX_PADDING_BYTES:
        raise ValueError(f"blob_bytes: {blob_bytes} cannot be reached with a plaintext of {len(plaintext)} bytes")
    nonce = os.urandom(NONCE_BYTES)
    magic = _MULTI_REGION_MAGIC if key_id.startswith(MULTI_REGION_PREFIX) else _MAGIC
    key_number = uuid.UUID(key_id.removeprefix(MULTI_REGION_PREFIX)).bytes
    prefix = _HEADER.pack(magic, key_number, padding_bytes, nonce) + bytes(padding_bytes)
    return prefix + AESGCM(material).encrypt(nonce, plaintext, prefix + encode_context(encryption_context))


def blob_key_id(blob: bytes) -> str:
    """Return the id of the key that a blob names; nothing verifies it until the blob is decrypted.

    Raises:
        CiphertextError: it is not a blob of the simulator's.
    """
    if len(blob) < OVERHEAD_BYTES or not blob.startswith((_MAGIC, _MULTI_REGION_MAGIC)):
        raise CiphertextError("ciphertext blob: not one that the simulator made")
    key_number = uuid.UUID(bytes=_HEADER.unpack_from(blob)[1])
    return f"{MULTI_REGION_PREFIX}{key_number.hex}" if blob.startswith(_MULTI_REGION_MAGIC) else str(key_number)


def open_blob(blob: bytes, *, material: bytes, encryption_context: Mapping[str, str]) -> bytes:
    """Return the plaintext of a blob.

    Args:
        blob: one that ``blob_key_id`` has read.
        material: the material of the key that the blob names.
        encryption_context: equal to the one at encryption, in any order.

    Raises:
        CiphertextError: it was changed, or belongs to another key or encryption context.
    """
    _, _, padding_bytes, nonce = _HEADER.unpack_from(blob)
    prefix, ciphertext = blob[: _HEADER.size + padding_bytes], blob[_HEADER.size + padding_bytes :]
    try:
        return AESGCM(material).decrypt(nonce, ciphertext, prefix + encode_context(encryption_context))
    except InvalidTag:
        raise CiphertextError("ciphertext blob: does not open with this key and encryption context") from None


def encode_context(encryption_context: Mapping[str, str]) -> bytes:
    """Encode an encryption context as bytes that do not depend on its order and differ for different contexts."""
    texts = [text.encode("utf-8") for pair in sorted(encryption_context.items()) for text in pair]
    return b"".join(struct.pack(">I", len(text)) + text for text in texts)
