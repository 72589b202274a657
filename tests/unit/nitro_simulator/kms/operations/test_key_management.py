from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from nitro_attestation.key_policy.model import default_policy
from tests.support.kms.world import ACCOUNT_ID, ROLE_ARN, KmsWorld, allow, attested_policy, deny, policy


def _create(world: KmsWorld, **request: object) -> dict[str, Any]:
    metadata = world.call("CreateKey", **request)["KeyMetadata"]
    assert isinstance(metadata, dict)
    return metadata


def test_created_key_is_described_as_kms_does(world: KmsWorld) -> None:
    metadata = _create(world, Description="for tests")

    assert metadata["Arn"] == f"arn:aws:kms:us-east-1:{ACCOUNT_ID}:key/{metadata['KeyId']}"
    assert metadata | {"KeyId": "", "Arn": ""} == {
        "AWSAccountId": ACCOUNT_ID,
        "KeyId": "",
        "Arn": "",
        "CreationDate": round(world.clock().timestamp(), 3),
        "Enabled": True,
        "Description": "for tests",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": "Enabled",
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "MultiRegion": False,
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
    }
    assert world.call("DescribeKey", KeyId=metadata["KeyId"])["KeyMetadata"] == metadata


@pytest.mark.parametrize(
    ("spec", "usage", "algorithms"),
    [
        ("RSA_2048", "ENCRYPT_DECRYPT", {"EncryptionAlgorithms": ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]}),
        ("ECC_NIST_P256", "KEY_AGREEMENT", {"KeyAgreementAlgorithms": ["ECDH"]}),
        ("ECC_NIST_P384", "KEY_AGREEMENT", {"KeyAgreementAlgorithms": ["ECDH"]}),
    ],
)
def test_asymmetric_key_shows_its_public_key(
    world: KmsWorld, spec: str, usage: str, algorithms: dict[str, list[str]]
) -> None:
    metadata = _create(world, KeySpec=spec, KeyUsage=usage)

    answer = world.call("GetPublicKey", KeyId=metadata["Arn"])

    serialization.load_der_public_key(b64decode(answer.pop("PublicKey")))
    expected = {"KeyId": metadata["Arn"], "KeySpec": spec, "CustomerMasterKeySpec": spec, "KeyUsage": usage}
    assert answer == expected | algorithms
    assert metadata.items() >= algorithms.items()


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"KeySpec": "RSA_2048"}, "ValidationException"),
        ({"KeySpec": "ECC_NIST_P256", "KeyUsage": "ENCRYPT_DECRYPT"}, "ValidationException"),
        ({"KeySpec": "RSA_2048", "KeyUsage": "KEY_AGREEMENT"}, "ValidationException"),
        ({"KeySpec": "ECC_SECG_P256K1", "KeyUsage": "KEY_AGREEMENT"}, "ValidationException"),
        ({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}, "UnsupportedOperationException"),
        ({"KeySpec": "DES"}, "ValidationException"),
        ({"Origin": "EXTERNAL"}, "UnsupportedOperationException"),
        ({"Policy": "{}"}, "MalformedPolicyDocumentException"),
    ],
)
def test_unsupported_key_is_refused(world: KmsWorld, request_: dict[str, Any], code: str) -> None:
    assert world.fault("CreateKey", **request_).code == code
    assert world.call("ListKeys")["Keys"] == []


def test_key_without_policy_gets_the_default_one(world: KmsWorld) -> None:
    key_id = _create(world)["KeyId"]

    answer = world.call("GetKeyPolicy", KeyId=key_id)

    assert answer == {"Policy": default_policy(ACCOUNT_ID), "PolicyName": "default"}


def test_put_policy_takes_effect_at_once_and_is_returned_as_written(world: KmsWorld) -> None:
    key_id = _create(world)["KeyId"]
    text = policy(deny("kms:DescribeKey"))
    world.call("DescribeKey", KeyId=key_id)

    world.call("PutKeyPolicy", KeyId=key_id, PolicyName="default", Policy=text)

    assert world.call("GetKeyPolicy", KeyId=key_id)["Policy"] == text
    assert world.fault("DescribeKey", KeyId=key_id).code == "AccessDeniedException"


def test_malformed_policy_is_refused_and_the_old_one_stays(world: KmsWorld) -> None:
    key_id = _create(world)["KeyId"]
    bad = json.loads(policy(allow("kms:Decrypt", condition={"StringEqual": {"kms:CallerAccount": "1"}})))

    fault = world.fault("PutKeyPolicy", KeyId=key_id, Policy=json.dumps(bad))

    assert fault.code == "MalformedPolicyDocumentException"
    assert "StringEqual" in (fault.message or "")
    assert world.call("GetKeyPolicy", KeyId=key_id)["Policy"] == default_policy(ACCOUNT_ID)


def test_policy_that_locks_its_author_out_is_refused_unless_asked_for(world: KmsWorld) -> None:
    key_id = _create(world)["KeyId"]
    text = policy(allow("kms:Decrypt"), with_administration=False)

    fault = world.fault("PutKeyPolicy", KeyId=key_id, Policy=text)
    assert fault.code == "MalformedPolicyDocumentException"
    assert fault.message == "The new key policy will not allow you to update the key policy in the future."
    assert world.fault("CreateKey", Policy=text).code == "MalformedPolicyDocumentException"

    world.call("PutKeyPolicy", KeyId=key_id, Policy=text, BypassPolicyLockoutSafetyCheck=True)
    assert world.fault("PutKeyPolicy", KeyId=key_id, Policy=default_policy(ACCOUNT_ID)).code == "AccessDeniedException"


def test_other_policy_name_does_not_exist(world: KmsWorld) -> None:
    key_id = _create(world)["KeyId"]

    assert world.fault("GetKeyPolicy", KeyId=key_id, PolicyName="other").code == "NotFoundException"


def test_alias_stands_for_its_key(world: KmsWorld) -> None:
    metadata = _create(world)
    world.call("CreateAlias", AliasName="alias/app", TargetKeyId=metadata["Arn"])

    assert world.call("DescribeKey", KeyId="alias/app")["KeyMetadata"] == metadata
    assert world.fault("GetKeyPolicy", KeyId="alias/app").code == "NotFoundException"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("app", "ValidationException"),
        ("alias/", "ValidationException"),
        ("alias/aws/s3", "NotAuthorizedException"),
        ("alias/taken", "AlreadyExistsException"),
    ],
)
def test_invalid_alias_is_refused(world: KmsWorld, name: str, code: str) -> None:
    key = world.kms.create_key(alias="alias/taken")

    assert world.fault("CreateAlias", AliasName=name, TargetKeyId=key.key_id).code == code


def test_keys_are_listed_in_pages(world: KmsWorld) -> None:
    made = [_create(world)["KeyId"] for _ in range(3)]

    first = world.call("ListKeys", Limit=2)
    second = world.call("ListKeys", Limit=2, Marker=first["NextMarker"])

    assert (first["Truncated"], second["Truncated"]) == (True, False)
    assert [key["KeyId"] for key in first["Keys"] + second["Keys"]] == made
    assert "NextMarker" not in second
    assert world.fault("ListKeys", Marker="x").code == "InvalidMarkerException"


def test_disabled_key_is_shown_and_can_be_enabled_again(world: KmsWorld) -> None:
    key_id = _create(world, KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyId"]

    world.call("DisableKey", KeyId=key_id)
    assert world.call("DescribeKey", KeyId=key_id)["KeyMetadata"]["KeyState"] == "Disabled"
    assert world.fault("GetPublicKey", KeyId=key_id).code == "DisabledException"
    world.call("EnableKey", KeyId=key_id)
    world.call("GetPublicKey", KeyId=key_id)


def test_symmetric_key_has_no_public_key(world: KmsWorld) -> None:
    assert world.fault("GetPublicKey", KeyId=_create(world)["KeyId"]).code == "UnsupportedOperationException"


@pytest.mark.parametrize("operation", ["DescribeKey", "GetKeyPolicy", "DisableKey", "EnableKey", "GetPublicKey"])
def test_management_operation_checks_the_policy(world: KmsWorld, operation: str) -> None:
    key = world.kms.create_key(policy=policy(allow("kms:Decrypt"), with_administration=False))

    fault = world.fault(operation, KeyId=key.key_id)

    assert fault.code == "AccessDeniedException"
    assert f"kms:{operation}" in (fault.message or "")


def test_attested_policy_keeps_administration_apart_from_use(world: KmsWorld) -> None:
    key = world.kms.create_key(policy=attested_policy())

    assert ROLE_ARN in world.call("GetKeyPolicy", KeyId=key.key_id)["Policy"]
