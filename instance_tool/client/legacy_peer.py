"""What kmstool in C can do, so that nothing is asked of a legacy peer that it would ignore.

Its only KMS operation is Decrypt, and it reads only the ciphertext and the encryption context. It ignores every other
field and still answers Ok: a Decrypt with the KeyId of another key would succeed.
"""

from __future__ import annotations

from instance_tool.client.connection import EnclaveConnection
from instance_tool.errors import EnclaveError, LegacyPeerError
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS
from vsock_wire.protocol.vocabulary import Operation

FIELDS_READ = frozenset({"Ciphertext", "EncryptionContext"})
"""The parameters of Decrypt that kmstool in C reads. Source: its behavior at commit e86d2cf."""
SECOND_REPLY_TIMEOUT_S = 1.0
"""How long to wait for the second reply, which kmstool in C writes right after the first one."""

_HINT = "run this project's kmstool-enclave"
_WORDS = {
    "KeyId": ("the key ID", "--key-id"),
    "EncryptionAlgorithm": ("the encryption algorithm", "--encryption-algorithm"),
    "GrantTokens": ("grant tokens", "--grant-token"),
    "DryRun": ("a dry run", "--dry-run"),
}
"""What errors call the parameters that kmstool in C ignores, and their options."""


def refusal_by_legacy_peer(message: JsonObject) -> LegacyPeerError | None:
    """Return the error for a request that kmstool in C cannot perform as asked; None if it can."""
    operation = message.get("Operation")
    if operation != Operation.DECRYPT:
        return LegacyPeerError(
            f"this enclave runs kmstool in C, which does not know {operation}: its only operation is Decrypt",
            hint=_HINT,
        )
    parameters = [spec.name for spec in KMS_OPERATIONS[Operation.DECRYPT].request]
    ignored = [name for name in parameters if name not in FIELDS_READ and message.get(name) is not None]
    if not ignored:
        return None
    words = [_WORDS.get(name, (name, name)) for name in ignored]
    return LegacyPeerError(
        f"this enclave runs kmstool in C, which ignores {' and '.join(word for word, _ in words)}",
        hint=f"omit {' and '.join(option for _, option in words)}, or {_HINT}",
    )


def is_legacy_peer(connection: EnclaveConnection) -> bool:
    """Ask a peer to describe itself, which kmstool in C cannot; return whether it cannot.

    Raises:
        EnclaveError, TransportError, WireError: as ``EnclaveConnection.exchange``, for any other failure.
    """
    try:
        connection.exchange({"Operation": Operation.DESCRIBE})
    except EnclaveError as error:
        if error.says_operation_unknown:
            return True
        raise
    return False
