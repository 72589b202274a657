"""Operations about grants, and what grants change in the other operations."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from nitro_simulator.kms.keys.key import KeyState, KmsKey
from tests.support.kms.world import (
    ACCOUNT_ID,
    ROLE_ARN,
    ROOT_ARN,
    SESSION_ARN,
    KmsWorld,
    allow,
    code_and_text,
    deny,
    policy,
)
from vsock_wire.protocol.json_codec import encode_base64

SECRET = b"attack at dawn"
ADMINISTRATOR = "KeyAdministrator"
ADMINISTRATOR_ARN = f"arn:aws:iam::{ACCOUNT_ID}:role/{ADMINISTRATOR}"
CONTEXT = {"tenant": "7"}


def new_key(world: KmsWorld, *more: dict[str, Any], **options: Any) -> KmsKey:
    administration = allow(["kms:*Grant*", "kms:DescribeKey"], principal={"AWS": ADMINISTRATOR_ARN})
    return world.kms.create_key(policy=policy(administration, *more, with_administration=False), **options)


@pytest.fixture
def key(world: KmsWorld) -> KmsKey:
    """Return a key whose policy lets the administrator create grants, and nobody use it."""
    return new_key(world)


def grant(world: KmsWorld, key: KmsKey, *operations: str, **more: object) -> dict[str, str]:
    request = {"GranteePrincipal": ROLE_ARN, "Operations": list(operations or ("Decrypt",)), **more}
    answer = world.call("CreateGrant", ADMINISTRATOR, KeyId=key.arn, **request)
    assert set(answer) == {"GrantToken", "GrantId"}
    return answer


def decryption(key: KmsKey, context: dict[str, str] | None = None) -> dict[str, object]:
    blob = key.seal(SECRET, encryption_context=context)
    return {"CiphertextBlob": encode_base64(blob)} | ({"EncryptionContext": context} if context else {})


def refusal_of_grant(world: KmsWorld, key: KmsKey, **request: object) -> tuple[str, str | None]:
    whole = {"KeyId": key.arn, "GranteePrincipal": ROLE_ARN, "Operations": ["Decrypt"], **request}
    fault = world.fault("CreateGrant", ADMINISTRATOR, **{name: item for name, item in whole.items() if item})
    return code_and_text(fault)


class TestUse:
    def test_grant_allows_what_no_policy_allows_until_it_ends(self, world: KmsWorld, key: KmsKey) -> None:
        assert "no resource-based policy" in (world.fault("Decrypt", **decryption(key)).message or "")
        grant_id = grant(world, key)["GrantId"]
        world.call("Decrypt", **decryption(key))
        assert world.fault("Encrypt", KeyId=key.arn, Plaintext="AAAA").code == "AccessDeniedException"
        assert world.fault("Decrypt", "OtherRole", **decryption(key)).code == "AccessDeniedException"
        world.call("RevokeGrant", ADMINISTRATOR, KeyId=key.arn, GrantId=grant_id)
        assert world.fault("Decrypt", **decryption(key)).code == "AccessDeniedException"

    def test_no_attestation_is_asked_for_by_a_grant(self, world: KmsWorld) -> None:
        """This is why a policy must not let anybody create grants."""
        image = {"StringEqualsIgnoreCase": {"kms:RecipientAttestation:ImageSha384": "ab" * 48}}
        key = new_key(world, allow("kms:Decrypt", condition=image))
        assert world.fault("Decrypt", **decryption(key)).code == "AccessDeniedException"
        grant(world, key)
        assert "Plaintext" in world.call("Decrypt", **decryption(key))

    def test_denials_and_limits_count_nevertheless(self, world: KmsWorld) -> None:
        key = new_key(world, deny("kms:Decrypt"))
        grant(world, key, "Decrypt", "GenerateDataKey")
        text = world.fault("Decrypt", **decryption(key)).message or ""
        assert text.endswith("with an explicit deny in a resource-based policy")
        request = {"KeyId": key.arn, "KeySpec": "AES_128"}
        world.call("GenerateDataKey", **request)
        everything_else = {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}
        world.kms.policies.put_service_control_policy(json.dumps({"Statement": everything_else}))
        text = world.fault("GenerateDataKey", **request).message or ""
        assert text.endswith("because no service control policy allows the kms:GenerateDataKey action")

    def test_grant_to_the_account_leaves_it_to_identity_policies(self, world: KmsWorld, key: KmsKey) -> None:
        grant(world, key, GranteePrincipal=ROOT_ARN)
        world.call("Decrypt", **decryption(key))
        nothing = json.dumps({"Statement": {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}})
        world.kms.policies.put_identity_policy(ROLE_ARN, nothing)
        text = world.fault("Decrypt", **decryption(key)).message or ""
        assert text.endswith("because no identity-based policy allows the kms:Decrypt action")

    @pytest.mark.parametrize("kind", ["EncryptionContextSubset", "EncryptionContextEquals"])
    def test_constraint_limits_the_encryption_context(self, world: KmsWorld, key: KmsKey, kind: str) -> None:
        grant(world, key, Constraints={kind: CONTEXT})
        world.call("Decrypt", **decryption(key, CONTEXT))
        for context in ({}, {"tenant": "8"}):
            assert world.fault("Decrypt", **decryption(key, context)).code == "AccessDeniedException"
        more = decryption(key, {**CONTEXT, "purpose": "test"})
        if kind == "EncryptionContextSubset":
            world.call("Decrypt", **more)
        else:
            assert world.fault("Decrypt", **more).code == "AccessDeniedException"

    def test_until_a_grant_counts_everywhere_its_token_is_needed(self, world: KmsWorld, key: KmsKey) -> None:
        world.kms.grant_delay = timedelta(minutes=5)
        token = grant(world, key)["GrantToken"]
        assert world.fault("Decrypt", **decryption(key)).code == "AccessDeniedException"
        world.call("Decrypt", **decryption(key), GrantTokens=[token])
        world.clock.advance(300)
        world.call("Decrypt", **decryption(key))

    def test_token_of_no_grant_or_of_one_that_has_ended_is_refused(self, world: KmsWorld, key: KmsKey) -> None:
        answer = grant(world, key)
        for tokens in (["t"], [answer["GrantToken"], "t"]):
            fault = world.fault("Decrypt", **decryption(key), GrantTokens=tokens)
            assert code_and_text(fault) == ("InvalidGrantTokenException", None)
        world.call("RetireGrant", ADMINISTRATOR, GrantToken=answer["GrantToken"])
        fault = world.fault("Decrypt", **decryption(key), GrantTokens=[answer["GrantToken"]])
        assert fault.code == "InvalidGrantTokenException"

    def test_both_keys_of_reencrypt_may_have_grants(self, world: KmsWorld, key: KmsKey) -> None:
        other = new_key(world)
        request = {"DestinationKeyId": other.arn, **decryption(key)}
        grant(world, key, "ReEncryptFrom")
        assert "kms:ReEncryptTo" in (world.fault("ReEncrypt", **request).message or "")
        grant(world, other, "ReEncryptTo")
        world.call("ReEncrypt", **request)

    @pytest.mark.parametrize(
        ("spec", "usage", "operation", "request_"),
        [
            ("RSA_2048", "SIGN_VERIFY", "Sign", {"Message": "AAAA", "SigningAlgorithm": "RSASSA_PSS_SHA_256"}),
            ("ECC_NIST_P256", "KEY_AGREEMENT", "GetPublicKey", {}),
            (
                "RSA_2048",
                "ENCRYPT_DECRYPT",
                "Encrypt",
                {"Plaintext": "AA==", "EncryptionAlgorithm": "RSAES_OAEP_SHA_1"},
            ),
        ],
    )
    def test_asymmetric_keys_have_grants(
        self, world: KmsWorld, *, spec: str, usage: str, operation: str, request_: dict[str, object]
    ) -> None:
        key = new_key(world, spec=spec, usage=usage)
        assert world.fault(operation, KeyId=key.arn, **request_).code == "AccessDeniedException"
        grant(world, key, operation)
        world.call(operation, KeyId=key.arn, **request_)


class TestCreateGrant:
    def test_needs_permission_and_its_condition_keys_say_what_it_is(self, world: KmsWorld) -> None:
        conditions = {
            "ForAllValues:StringEquals": {"kms:GrantOperations": ["Decrypt", "DescribeKey"]},
            "StringEquals": {"kms:GranteePrincipal": ROLE_ARN, "kms:GrantConstraintType": "EncryptionContextSubset"},
            "Bool": {"kms:GrantIsForAWSResource": "false"},
            "Null": {"kms:RetiringPrincipal": "true"},
        }
        statement = allow("kms:CreateGrant", condition=conditions, principal={"AWS": ADMINISTRATOR_ARN})
        key = world.kms.create_key(policy=policy(statement, with_administration=False))
        constraints: dict[str, object] = {"Constraints": {"EncryptionContextSubset": CONTEXT}}

        grant(world, key, "Decrypt", "DescribeKey", **constraints)
        for request in (
            {"Operations": ["Encrypt"], **constraints},
            {},
            {"GranteePrincipal": ADMINISTRATOR_ARN, **constraints},
            {"RetiringPrincipal": ROLE_ARN, **constraints},
        ):
            assert refusal_of_grant(world, key, **request)[0] == "AccessDeniedException"

    @pytest.mark.parametrize(
        ("request_", "code", "text"),
        [
            ({"Operations": ["CreateGrant"]}, "ValidationException", "not contain only the CreateGrant operation."),
            (
                {"Constraints": {"EncryptionContextSubset": {}, "EncryptionContextEquals": {}}},
                "ValidationException",
                "More than one constraint supplied",
            ),
            (
                {"Operations": ["Sign"]},
                "ValidationException",
                "Operations: Sign cannot be granted for this type of key",
            ),
            ({"Operations": ["Dance"]}, "ValidationException", "failed to satisfy constraint"),
            ({"GranteePrincipal": None}, "ValidationException", "GranteePrincipal is required."),
            ({"GranteeServicePrincipal": "ec2.amazonaws.com"}, "ValidationException", "not part of the simulator"),
            (
                {"Constraints": {"SourceArn": f"arn:aws:ec2:us-east-1:{ACCOUNT_ID}:volume/vol-1"}},
                "ValidationException",
                "SourceArn",
            ),
            ({"GranteePrincipal": "EnclaveInstanceRole"}, "InvalidArnException", "EnclaveInstanceRole"),
            ({"RetiringPrincipal": "*"}, "ValidationException", "failed to satisfy constraint"),
            ({"GrantTokens": ["t"]}, "InvalidGrantTokenException", ""),
            ({"DryRun": True}, "DryRunOperationException", "would have succeeded"),
            ({"KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab"}, "NotFoundException", "does not exist"),
        ],
    )
    def test_impossible_grant_is_refused(
        self, world: KmsWorld, key: KmsKey, *, request_: dict[str, object], code: str, text: str
    ) -> None:
        found = refusal_of_grant(world, key, **request_)
        assert (found[0], text in (found[1] or "")) == (code, True), found
        assert key.grants.list() == []

    def test_asymmetric_key_takes_no_constraint(self, world: KmsWorld) -> None:
        key = new_key(world, spec="RSA_2048")
        found = refusal_of_grant(world, key, Constraints={"EncryptionContextEquals": CONTEXT})
        assert found == ("ValidationException", "Constraints: an asymmetric key has no encryption context")

    def test_disabled_key_takes_none(self, world: KmsWorld, key: KmsKey) -> None:
        key.state = KeyState.DISABLED
        assert refusal_of_grant(world, key) == ("DisabledException", f"{key.arn} is disabled.")

    def test_same_name_and_content_return_the_same_grant_with_a_new_token(self, world: KmsWorld, key: KmsKey) -> None:
        first, again = (grant(world, key, Name="for-the-enclave") for _ in range(2))
        assert first["GrantId"] == again["GrantId"]
        assert first["GrantToken"] != again["GrantToken"]
        other = grant(world, key, "Encrypt", Name="for-the-enclave")
        assert other["GrantId"] != first["GrantId"]
        for token in (first["GrantToken"], again["GrantToken"]):
            world.call("Decrypt", **decryption(key), GrantTokens=[token])

    def test_grant_to_create_grants_passes_on_no_more_than_it_allows(self, world: KmsWorld, key: KmsKey) -> None:
        grant(world, key, "Decrypt", "CreateGrant", Constraints={"EncryptionContextSubset": CONTEXT})
        request: dict[str, Any] = {"KeyId": key.arn, "GranteePrincipal": f"{ROLE_ARN}2", "Operations": ["Decrypt"]}
        assert world.fault("CreateGrant", **request).code == "AccessDeniedException"
        request["Constraints"] = {"EncryptionContextSubset": {**CONTEXT, "more": "1"}}
        world.call("CreateGrant", **request)
        assert world.fault("CreateGrant", **request | {"Operations": ["Encrypt"]}).code == "AccessDeniedException"


class TestWithoutACaller:
    def test_grant_counts_and_its_token_is_returned(self, world: KmsWorld, key: KmsKey) -> None:
        world.kms.grant_delay = timedelta(minutes=5)
        token = world.kms.create_grant(key, grantee=ROLE_ARN, operations=["Decrypt"], encryption_context=CONTEXT)
        request = decryption(key, {**CONTEXT, "more": "1"})
        assert world.fault("Decrypt", **request).code == "AccessDeniedException"
        world.call("Decrypt", **request, GrantTokens=[token])
        assert world.fault("Decrypt", **decryption(key), GrantTokens=[token]).code == "AccessDeniedException"


class TestEnd:
    @pytest.mark.parametrize("by_token", [True, False])
    def test_retiring_principal_retires_it_by_token_or_id(self, world: KmsWorld, key: KmsKey, by_token: bool) -> None:
        answer = grant(world, key, RetiringPrincipal=SESSION_ARN)
        request = {"GrantToken": answer["GrantToken"]} if by_token else {"KeyId": key.arn, "GrantId": answer["GrantId"]}
        assert world.fault("RetireGrant", "OtherRole", **request).code == "AccessDeniedException"
        assert world.fault("RetireGrant", DryRun=True, **request).code == "DryRunOperationException"
        assert world.call("RetireGrant", **request) == {}
        assert key.grants.list() == []
        code = "InvalidGrantTokenException" if by_token else "NotFoundException"
        assert world.fault("RetireGrant", **request).code == code

    def test_grantee_retires_it_only_if_it_says_so(self, world: KmsWorld, key: KmsKey) -> None:
        for operations in (["Decrypt"], ["Decrypt", "RetireGrant"]):
            token = grant(world, key, *operations)["GrantToken"]
            if "RetireGrant" in operations:
                world.call("RetireGrant", GrantToken=token)
            else:
                assert world.fault("RetireGrant", GrantToken=token).code == "AccessDeniedException"

    def test_retirement_needs_a_token_or_both_ids(self, world: KmsWorld, key: KmsKey) -> None:
        answer = grant(world, key)
        for request in ({}, {"KeyId": key.arn}, {"GrantId": answer["GrantId"]}, {**answer, "KeyId": key.arn}):
            assert world.fault("RetireGrant", **request).code == "ValidationException"

    def test_revocation_needs_permission_and_a_grant(self, world: KmsWorld, key: KmsKey) -> None:
        grant_id = grant(world, key)["GrantId"]
        assert world.fault("RevokeGrant", KeyId=key.arn, GrantId=grant_id).code == "AccessDeniedException"
        fault = world.fault("RevokeGrant", ADMINISTRATOR, KeyId=key.arn, GrantId="0" * 64)
        assert code_and_text(fault) == ("NotFoundException", f"Grant id {'0' * 64} is not found.")
        dry = world.fault("RevokeGrant", ADMINISTRATOR, KeyId=key.arn, GrantId=grant_id, DryRun=True)
        assert dry.code == "DryRunOperationException"
        assert len(key.grants.list()) == 1


class TestLists:
    def test_grant_is_shown_as_kms_does_without_its_token(self, world: KmsWorld, key: KmsKey) -> None:
        answer = grant(
            world, key, Name="n", RetiringPrincipal=SESSION_ARN, Constraints={"EncryptionContextEquals": CONTEXT}
        )

        shown = world.call("ListGrants", ADMINISTRATOR, KeyId=key.key_id)

        assert shown == {
            "Truncated": False,
            "Grants": [
                {
                    "KeyId": key.arn,
                    "GrantId": answer["GrantId"],
                    "Name": "n",
                    "CreationDate": round(world.clock().timestamp(), 3),
                    "GranteePrincipal": ROLE_ARN,
                    "RetiringPrincipal": SESSION_ARN,
                    "IssuingAccount": ROOT_ARN,
                    "Operations": ["Decrypt"],
                    "Constraints": {"EncryptionContextEquals": CONTEXT},
                }
            ],
        }

    def test_pages_and_filters(self, world: KmsWorld, key: KmsKey) -> None:
        ids = [grant(world, key, GranteePrincipal=f"{ROLE_ARN}{number}")["GrantId"] for number in range(5)]
        found: list[str] = []
        request: dict[str, object] = {"KeyId": key.arn, "Limit": 2}
        while True:
            page = world.call("ListGrants", ADMINISTRATOR, **request)
            found += [each["GrantId"] for each in page["Grants"]]
            if not page["Truncated"]:
                break
            request["Marker"] = page["NextMarker"]
        assert found == ids
        for criterion in ({"GrantId": ids[3]}, {"GranteePrincipal": f"{ROLE_ARN}3"}):
            (shown,) = world.call("ListGrants", ADMINISTRATOR, KeyId=key.arn, **criterion)["Grants"]
            assert shown["GrantId"] == ids[3]
        for name, code in (("Marker", "InvalidMarkerException"), ("GrantId", "InvalidGrantIdException")):
            assert world.fault("ListGrants", ADMINISTRATOR, KeyId=key.arn, **{name: "0" * 64}).code == code
        assert world.fault("ListGrants", KeyId=key.arn).code == "AccessDeniedException"

    def test_retirable_grants_are_those_of_every_key(self, world: KmsWorld, key: KmsKey) -> None:
        other = new_key(world)
        ids = [grant(world, each, RetiringPrincipal=ROLE_ARN)["GrantId"] for each in (key, other)]
        grant(world, key)
        shown = world.call("ListRetirableGrants", RetiringPrincipal=ROLE_ARN)["Grants"]
        assert [(each["GrantId"], each["KeyId"]) for each in shown] == list(zip(ids, (key.arn, other.arn), strict=True))
        assert world.fault("ListRetirableGrants").code == "ValidationException"
