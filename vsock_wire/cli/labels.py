"""Labels of the output lines that show the results of a KMS operation (pure)."""

from __future__ import annotations

from collections.abc import Mapping

from vsock_wire.protocol.delivery import MESSAGE
from vsock_wire.protocol.vocabulary import Operation

LABELS: Mapping[Operation, Mapping[str, str]] = {
    Operation.DECRYPT: {"PLAINTEXT": MESSAGE},
    Operation.GENERATE_DATA_KEY: {"CIPHERTEXT": "CiphertextBlob", "PLAINTEXT": MESSAGE},
    Operation.GENERATE_DATA_KEY_PAIR: {
        "CIPHERTEXT": "PrivateKeyCiphertextBlob",
        "PUBLIC_KEY": "PublicKey",
        "PLAINTEXT": MESSAGE,
    },
    Operation.GENERATE_RANDOM: {"PLAINTEXT": MESSAGE},
    Operation.DERIVE_SHARED_SECRET: {"PLAINTEXT": MESSAGE},
    Operation.ENCRYPT: {"CIPHERTEXT": "CiphertextBlob"},
}
"""For each operation, its labels and the reply field that each label shows. The labels of Decrypt, GenerateDataKey and
GenerateRandom are kmstool_enclave_cli's own."""
