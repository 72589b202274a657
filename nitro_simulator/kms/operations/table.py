"""The operations of the simulated KMS by name."""

from __future__ import annotations

from collections.abc import Callable

from nitro_simulator.kms.call import Call
from nitro_simulator.kms.operations import grant_management, key_management, key_use, replication, signing
from vsock_wire.protocol.json_codec import JsonObject

OPERATIONS: dict[str, Callable[[Call], JsonObject]] = {
    "CancelKeyDeletion": key_management.cancel_key_deletion,
    "CreateAlias": key_management.create_alias,
    "CreateGrant": grant_management.create_grant,
    "CreateKey": key_management.create_key,
    "Decrypt": key_use.decrypt,
    "DeriveSharedSecret": key_use.derive_shared_secret,
    "DescribeKey": key_management.describe_key,
    "DisableKey": key_management.disable_key,
    "EnableKey": key_management.enable_key,
    "Encrypt": key_use.encrypt,
    "GenerateDataKey": key_use.generate_data_key,
    "GenerateDataKeyPair": key_use.generate_data_key_pair,
    "GenerateDataKeyWithoutPlaintext": key_use.generate_data_key_without_plaintext,
    "GenerateRandom": key_use.generate_random,
    "GetKeyPolicy": key_management.get_key_policy,
    "GetPublicKey": key_management.get_public_key,
    "ListGrants": grant_management.list_grants,
    "ListKeys": key_management.list_keys,
    "ListRetirableGrants": grant_management.list_retirable_grants,
    "PutKeyPolicy": key_management.put_key_policy,
    "ReEncrypt": key_use.re_encrypt,
    "ReplicateKey": replication.replicate_key,
    "RetireGrant": grant_management.retire_grant,
    "RevokeGrant": grant_management.revoke_grant,
    "ScheduleKeyDeletion": key_management.schedule_key_deletion,
    "Sign": signing.sign,
    "Verify": signing.verify,
}
"""Every operation of the simulator, by AWS's name."""
