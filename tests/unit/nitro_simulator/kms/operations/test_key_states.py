"""States of keys: what KMS refuses in each, and how a key gets there."""

from __future__ import annotations

from datetime import timedelta

import pytest

from nitro_simulator.kms.keys.key import KeyState, KmsKey
from tests.support.kms.world import KmsWorld, allow, code_and_text, policy
from vsock_wire.protocol.json_codec import encode_base64

SECRET = b"attack at dawn"
REFUSALS = {
    KeyState.DISABLED: ("DisabledException", "is disabled."),
    KeyState.PENDING_DELETION: ("KMSInvalidStateException", "is pending deletion."),
    KeyState.PENDING_IMPORT: ("KMSInvalidStateException", "is pending import."),
    KeyState.UNAVAILABLE: ("KMSInvalidStateException", "is unavailable."),
}


@pytest.fixture
def key(world: KmsWorld) -> KmsKey:
    actions = ["kms:Decrypt", "kms:Generate*", "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion"]
    return world.kms.create_key(policy=policy(allow(actions)))


def test_every_state_but_enabled_is_refused() -> None:
    assert set(REFUSALS) == set(KeyState) - {KeyState.ENABLED}


@pytest.mark.parametrize("state", REFUSALS)
def test_key_in_another_state_is_not_used(world: KmsWorld, key: KmsKey, state: KeyState) -> None:
    blob = encode_base64(key.seal(SECRET))
    key.state = state
    code, text = REFUSALS[state]
    for operation, request in (
        ("Decrypt", {"CiphertextBlob": blob}),
        ("Encrypt", {"KeyId": key.arn, "Plaintext": blob}),
        ("GenerateDataKey", {"KeyId": key.arn, "KeySpec": "AES_256"}),
        ("GenerateDataKeyPair", {"KeyId": key.arn, "KeyPairSpec": "ECC_NIST_P256"}),
    ):
        assert code_and_text(world.fault(operation, **request)) == (code, f"{key.arn} {text}")
    metadata = world.call("DescribeKey", KeyId=key.arn)["KeyMetadata"]
    assert (metadata["KeyState"], metadata["Enabled"]) == (state, False)


@pytest.mark.parametrize("state", [state for state in REFUSALS if state is not KeyState.DISABLED])
@pytest.mark.parametrize("operation", ["EnableKey", "DisableKey"])
def test_key_that_is_not_ready_is_neither_enabled_nor_disabled(
    world: KmsWorld, key: KmsKey, *, operation: str, state: KeyState
) -> None:
    key.state = state
    assert code_and_text(world.fault(operation, KeyId=key.key_id)) == (
        "KMSInvalidStateException",
        f"{key.arn} {REFUSALS[state][1]}",
    )


def test_key_is_gone_after_its_time_and_its_ciphertexts_name_a_key_that_does_not_exist(
    world: KmsWorld, key: KmsKey
) -> None:
    blob = encode_base64(key.seal(SECRET))

    answer = world.call("ScheduleKeyDeletion", KeyId=key.key_id, PendingWindowInDays=7)

    deletion_at = round((world.clock() + timedelta(days=7)).timestamp(), 3)
    assert answer == {
        "KeyId": key.arn,
        "DeletionDate": deletion_at,
        "KeyState": "PendingDeletion",
        "PendingWindowInDays": 7,
    }
    assert world.call("DescribeKey", KeyId=key.arn)["KeyMetadata"]["DeletionDate"] == deletion_at
    assert world.fault("ScheduleKeyDeletion", KeyId=key.key_id).code == "KMSInvalidStateException"
    assert world.fault("Decrypt", CiphertextBlob=blob).code == "KMSInvalidStateException"
    world.clock.advance(7 * 86_400)
    assert world.fault("DescribeKey", KeyId=key.arn).code == "NotFoundException"
    fault = world.fault("Decrypt", CiphertextBlob=blob)
    assert fault.code == "AccessDeniedException"
    assert "does not exist in this region" in (fault.message or "")


def test_deletion_can_be_canceled_until_then(world: KmsWorld, key: KmsKey) -> None:
    assert code_and_text(world.fault("CancelKeyDeletion", KeyId=key.key_id)) == (
        "KMSInvalidStateException",
        f"{key.arn} is not pending deletion.",
    )
    world.call("ScheduleKeyDeletion", KeyId=key.key_id)
    assert world.call("CancelKeyDeletion", KeyId=key.key_id) == {"KeyId": key.arn}
    world.clock.advance(31 * 86_400)
    assert world.call("DescribeKey", KeyId=key.arn)["KeyMetadata"]["KeyState"] == "Disabled"


@pytest.mark.parametrize("days", [6, 31])
def test_time_until_deletion_has_bounds(world: KmsWorld, key: KmsKey, days: int) -> None:
    assert world.fault("ScheduleKeyDeletion", KeyId=key.key_id, PendingWindowInDays=days).code == "ValidationException"
