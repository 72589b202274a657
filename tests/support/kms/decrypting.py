"""Decrypt requests and results for most tests."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from vsock_wire.protocol.kms_operations import KmsRequest, KmsResult
from vsock_wire.protocol.vocabulary import Operation

NO_CONTEXT: Mapping[str, str] = MappingProxyType({})


def decrypt_request(
    ciphertext: bytes,
    encryption_context: Mapping[str, str] = NO_CONTEXT,
    key_id: str | None = None,
    encryption_algorithm: str | None = None,
    grant_tokens: tuple[str, ...] = (),
) -> KmsRequest:
    """Return a Decrypt request without parameters that are None or empty."""
    parameters = {
        "CiphertextBlob": ciphertext,
        "EncryptionContext": dict(encryption_context),
        "KeyId": key_id,
        "EncryptionAlgorithm": encryption_algorithm,
        "GrantTokens": grant_tokens,
    }
    return KmsRequest(Operation.DECRYPT, {name: value for name, value in parameters.items() if value})


def decrypt_answer(
    plaintext: bytes, key_id: str | None = None, encryption_algorithm: str | None = None
) -> dict[str, Any]:
    """Return KMS's response to Decrypt, as the attested client returns it."""
    answer = {"Plaintext": plaintext, "KeyId": key_id, "EncryptionAlgorithm": encryption_algorithm}
    return {name: value for name, value in answer.items() if value is not None}


def decrypt_result(plaintext: bytes, key_id: str | None = None, encryption_algorithm: str | None = None) -> KmsResult:
    """Return what the enclave's client gets from it."""
    answer = decrypt_answer(plaintext, key_id, encryption_algorithm)
    return KmsResult(answer.pop("Plaintext"), answer)
