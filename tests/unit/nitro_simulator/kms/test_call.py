"""The checks before an operation uses a key: policy, Recipient, encryption context, the key's state, dry run."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.kms.world import (
    ACCOUNT_ID,
    PCR0,
    Enclave,
    KmsWorld,
    allow,
    attested_policy,
    code_and_text,
    denied_text,
    deny,
    policy,
)
from vsock_wire.protocol.json_codec import encode_base64

if TYPE_CHECKING:
    pass

SECRET = b"attack at dawn"
IMAGE = "kms:RecipientAttestation:ImageSha384"


def test_decrypt_without_recipient_returns_plaintext_if_policy_allows(world: KmsWorld) -> None:
    key = world.kms.create_key()

    answer = world.call("Decrypt", CiphertextBlob=encode_base64(key.seal(SECRET)))

    assert answer == {"KeyId": key.arn, "Plaintext": encode_base64(SECRET), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}


def test_decrypt_with_recipient_returns_no_plaintext_even_if_policy_does_not_demand_one(
    world: KmsWorld, enclave: Enclave
) -> None:
    key = world.kms.create_key()

    answer = world.call("Decrypt", CiphertextBlob=encode_base64(key.seal(SECRET)), Recipient=enclave.recipient_json())

    assert set(answer) == {"KeyId", "CiphertextForRecipient", "EncryptionAlgorithm"}
    assert enclave.open(b64decode(answer["CiphertextForRecipient"])) == SECRET


@pytest.mark.parametrize("operator", ["StringEquals", "StringEqualsIgnoreCase", "StringLike"])
@pytest.mark.parametrize("condition_key", [IMAGE, "kms:RecipientAttestation:PCR0", IMAGE.upper()])
def test_policy_on_image_lets_only_that_image_decrypt(
    world: KmsWorld, enclave: Enclave, operator: str, condition_key: str
) -> None:
    key = world.kms.create_key(policy=policy(allow("kms:Decrypt", condition={operator: {condition_key: PCR0}})))
    blob = encode_base64(key.seal(SECRET))
    other = world.enclave(enclave.key, pcrs={0: b"\xee" * 48})

    assert "CiphertextForRecipient" in world.call("Decrypt", CiphertextBlob=blob, Recipient=enclave.recipient_json())
    for request in ({"Recipient": other.recipient_json()}, {}):
        fault = world.fault("Decrypt", CiphertextBlob=blob, **request)
        assert code_and_text(fault) == ("AccessDeniedException", denied_text(key))


def test_upper_case_pcr_in_policy_needs_the_operator_that_ignores_case(world: KmsWorld, enclave: Enclave) -> None:
    for operator, is_allowed in (("StringEquals", False), ("StringEqualsIgnoreCase", True)):
        key = world.kms.create_key(policy=policy(allow("kms:Decrypt", condition={operator: {IMAGE: PCR0.upper()}})))
        request = {"CiphertextBlob": encode_base64(key.seal(SECRET)), "Recipient": enclave.recipient_json()}
        if is_allowed:
            world.call("Decrypt", **request)
        else:
            assert world.fault("Decrypt", **request).code == "AccessDeniedException"


def test_every_pcr_in_a_policy_must_match_the_document(world: KmsWorld, enclave: Enclave) -> None:
    pcrs = {f"kms:RecipientAttestation:PCR{index}": bytes([0xA0 + index]).hex() * 48 for index in (0, 3, 8)}
    right = world.kms.create_key(policy=policy(allow("kms:Decrypt", condition={"StringEquals": pcrs})))
    wrong = world.kms.create_key(
        policy=policy(
            allow("kms:Decrypt", condition={"StringEquals": pcrs | {"kms:RecipientAttestation:PCR8": "00" * 48}})
        )
    )

    world.call("Decrypt", CiphertextBlob=encode_base64(right.seal(SECRET)), Recipient=enclave.recipient_json())
    fault = world.fault("Decrypt", CiphertextBlob=encode_base64(wrong.seal(SECRET)), Recipient=enclave.recipient_json())
    assert fault.code == "AccessDeniedException"


def test_debug_enclave_is_refused_by_policy_on_image(world: KmsWorld, enclave: Enclave) -> None:
    key = world.kms.create_key(policy=attested_policy())
    debug = world.enclave(enclave.key, debug=True)

    fault = world.fault("Decrypt", CiphertextBlob=encode_base64(key.seal(SECRET)), Recipient=debug.recipient_json())

    assert code_and_text(fault) == ("AccessDeniedException", denied_text(key))


def test_explicit_deny_wins_over_the_account_and_says_so(world: KmsWorld, enclave: Enclave) -> None:
    statements = [
        allow("kms:*", principal={"AWS": ACCOUNT_ID}),
        deny("kms:Decrypt", principal="*", condition={"StringNotEqualsIgnoreCase": {IMAGE: PCR0}}),
    ]
    key = world.kms.create_key(policy=policy(*statements))
    blob = encode_base64(key.seal(SECRET))

    world.call("Decrypt", CiphertextBlob=blob, Recipient=enclave.recipient_json())
    assert code_and_text(world.fault("Decrypt", CiphertextBlob=blob)) == (
        "AccessDeniedException",
        denied_text(key, explicitly=True),
    )


def test_policy_for_one_role_refuses_another(world: KmsWorld) -> None:
    key = world.kms.create_key(policy=policy(allow("kms:Decrypt")))
    blob = encode_base64(key.seal(SECRET))

    world.call("Decrypt", CiphertextBlob=blob)
    fault = world.fault("Decrypt", "OtherRole", CiphertextBlob=blob)
    assert "assumed-role/OtherRole/" in (fault.message or "")


def test_policy_on_encryption_context_is_enforced(world: KmsWorld) -> None:
    condition = {"StringEquals": {"kms:EncryptionContext:tenant": "7"}}
    key = world.kms.create_key(policy=policy(allow("kms:Decrypt", condition=condition)))

    for tenant, code in (("7", None), ("8", "AccessDeniedException")):
        request = {
            "CiphertextBlob": encode_base64(key.seal(SECRET, encryption_context={"tenant": tenant})),
            "EncryptionContext": {"tenant": tenant},
        }
        if code is None:
            world.call("Decrypt", **request)
        else:
            assert world.fault("Decrypt", **request).code == code


def test_policy_on_caller_account_and_service_is_enforced(world: KmsWorld) -> None:
    ours = world.kms.create_key(
        policy=policy(
            allow("kms:Decrypt", principal="*", condition={"StringEquals": {"kms:CallerAccount": ACCOUNT_ID}})
        )
    )
    via = {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}
    through_s3 = world.kms.create_key(policy=policy(allow("kms:Decrypt", condition=via)))

    world.call("Decrypt", CiphertextBlob=encode_base64(ours.seal(SECRET)))
    assert world.fault("Decrypt", CiphertextBlob=encode_base64(through_s3.seal(SECRET))).code == "AccessDeniedException"


def test_context_names_that_differ_only_in_case_are_refused(world: KmsWorld) -> None:
    key = world.kms.create_key()
    context = {"tenant": "7", "Tenant": "8"}

    fault = world.fault(
        "Decrypt", CiphertextBlob=encode_base64(key.seal(SECRET, encryption_context=context)), EncryptionContext=context
    )

    assert fault.code == "ValidationException"


def test_policy_is_checked_before_the_blob_is_decrypted(world: KmsWorld) -> None:
    key = world.kms.create_key(policy=attested_policy())
    broken = bytearray(key.seal(SECRET))
    broken[-1] ^= 1

    assert world.fault("Decrypt", CiphertextBlob=encode_base64(bytes(broken))).code == "AccessDeniedException"


def test_disabled_key_is_refused_after_the_policy(world: KmsWorld) -> None:
    key = world.kms.create_key()
    blob = encode_base64(key.seal(SECRET))
    world.call("DisableKey", KeyId=key.key_id)

    assert code_and_text(world.fault("Decrypt", CiphertextBlob=blob)) == (
        "DisabledException",
        f"{key.arn} is disabled.",
    )
    world.kms.put_key_policy(key, policy())
    assert world.fault("Decrypt", CiphertextBlob=blob).code == "AccessDeniedException"


def test_unknown_grant_token_is_refused_and_an_empty_list_is_not(world: KmsWorld) -> None:
    blob = encode_base64(world.kms.create_key().seal(SECRET))

    assert world.fault("Decrypt", CiphertextBlob=blob, GrantTokens=["t"]).code == "InvalidGrantTokenException"
    world.call("Decrypt", CiphertextBlob=blob, GrantTokens=[])


def test_dry_run_reports_that_the_request_would_have_succeeded(world: KmsWorld) -> None:
    key = world.kms.create_key()
    requests: list[tuple[str, dict[str, Any]]] = [
        ("Decrypt", {"CiphertextBlob": encode_base64(key.seal(SECRET))}),
        ("Encrypt", {"KeyId": key.arn, "Plaintext": encode_base64(SECRET)}),
        ("ReEncrypt", {"DestinationKeyId": key.arn, "CiphertextBlob": encode_base64(key.seal(SECRET))}),
        ("GenerateDataKey", {"KeyId": key.arn, "KeySpec": "AES_256"}),
    ]
    for operation, request in requests:
        assert world.fault(operation, DryRun=True, **request).code == "DryRunOperationException"
    modifiers = world.fault(
        "Decrypt", CiphertextBlob=encode_base64(key.seal(SECRET)), DryRunModifiers=["IGNORE_CIPHERTEXT"]
    )
    assert modifiers.code == "ValidationException"
