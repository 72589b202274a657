"""Which policy refuses a request, and in which words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nitro_simulator.kms.keys.key import KmsKey
from tests.support.kms.world import ACCOUNT_ID, ROLE_ARN, ROOT_ARN, SESSION_ARN, KmsWorld, allow, deny, policy
from vsock_wire.protocol.json_codec import encode_base64

SECRET = b"attack at dawn"
BY_ACCOUNT = policy(allow("kms:*", principal={"AWS": ROOT_ARN}))
KINDS = {
    "service control policy": "a",
    "VPC endpoint policy": "a",
    "resource-based policy": "a",
    "identity-based policy": "an",
}


def statements(*entries: tuple[str, str], principal: bool = False, **more: Any) -> str:
    """Return a policy with an effect and an action in each statement."""
    named = {"Principal": "*"} if principal else {}
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": effect, "Action": action, "Resource": "*", **named, **more} for effect, action in entries
            ],
        }
    )


def put(world: KmsWorld, key: KmsKey, kind: str, *entries: tuple[str, str]) -> None:
    match kind:
        case "service control policy":
            world.kms.policies.put_service_control_policy(statements(*entries))
        case "VPC endpoint policy":
            world.kms.policies.put_vpc_endpoint_policy(statements(*entries, principal=True))
        case "identity-based policy":
            world.kms.policies.put_identity_policy(ROLE_ARN, statements(*entries))
        case _:
            world.kms.put_key_policy(key, statements(*entries, principal=True))


def request(key: KmsKey) -> dict[str, str]:
    return {"CiphertextBlob": encode_base64(key.seal(SECRET))}


@pytest.mark.parametrize("kind", KINDS)
def test_policy_without_an_allow_refuses_and_is_named(world: KmsWorld, kind: str) -> None:
    key = world.kms.create_key(policy=BY_ACCOUNT)
    world.call("Decrypt", **request(key))
    put(world, key, kind, ("Allow", "kms:Encrypt"), ("Allow", "ec2:*"))

    fault = world.fault("Decrypt", **request(key))

    assert (fault.code, fault.http_status) == ("AccessDeniedException", 400)
    assert fault.message == (
        f"User: {SESSION_ARN} is not authorized to perform: kms:Decrypt on resource: {key.arn}"
        f" because no {kind} allows the kms:Decrypt action"
    )
    assert kind == "resource-based policy" or f"{kind}: implicit deny" in world.kms.journal.entries()[-1].reason


@pytest.mark.parametrize("kind", KINDS)
def test_policy_with_a_deny_refuses_and_is_named(world: KmsWorld, kind: str) -> None:
    key = world.kms.create_key(policy=BY_ACCOUNT)
    put(world, key, kind, ("Allow", "*"), ("Deny", "kms:Decrypt"))

    fault = world.fault("Decrypt", **request(key))

    assert fault.message == (
        f"User: {SESSION_ARN} is not authorized to perform: kms:Decrypt on resource: {key.arn}"
        f" with an explicit deny in {KINDS[kind]} {kind}"
    )
    world.call("Encrypt", KeyId=key.arn, Plaintext="AAAA")


def test_explicit_deny_is_reported_before_a_missing_allow(world: KmsWorld) -> None:
    key = world.kms.create_key(policy=BY_ACCOUNT)
    put(world, key, "service control policy", ("Allow", "ec2:*"))
    put(world, key, "identity-based policy", ("Deny", "kms:*"))

    assert "explicit deny in an identity-based policy" in (world.fault("Decrypt", **request(key)).message or "")


def test_refusal_names_the_arn_of_the_policy_that_denies_if_asked_to(world: KmsWorld) -> None:
    key = world.kms.create_key(policy=BY_ACCOUNT)
    world.kms.policies.names_policies = True
    arns = {
        "service control policy": ": arn:aws:organizations::444455556666:policy/o-0123456789/"
        "service_control_policy/p-0123456789",
        "identity-based policy": f": arn:aws:iam::{ACCOUNT_ID}:policy/EnclaveInstanceRole",
        "VPC endpoint policy": "",
    }
    for kind, arn in arns.items():
        put(world, key, kind, ("Allow", "*"), ("Deny", "kms:Decrypt"))
        text = world.fault("Decrypt", **request(key)).message or ""
        assert text.endswith(f"with an explicit deny in {KINDS[kind]} {kind}{arn}")
        put(world, key, kind, ("Allow", "*"))


class TestIdentityPolicies:
    def test_decide_nothing_if_the_key_policy_names_the_role(self, world: KmsWorld) -> None:
        key = world.kms.create_key(policy=policy(allow("kms:Decrypt")))
        put(world, key, "identity-based policy", ("Allow", "ec2:*"))

        world.call("Decrypt", **request(key))

    def test_alone_do_not_let_anybody_in(self, world: KmsWorld) -> None:
        key = world.kms.create_key(policy=policy())
        put(world, key, "identity-based policy", ("Allow", "*"))

        text = world.fault("Decrypt", **request(key)).message or ""
        assert text.endswith("because no resource-based policy allows the kms:Decrypt action")

    def test_of_one_role_do_not_count_for_another(self, world: KmsWorld) -> None:
        key = world.kms.create_key(policy=BY_ACCOUNT)
        put(world, key, "identity-based policy", ("Allow", "ec2:*"))

        world.call("Decrypt", "OtherRole", **request(key))
        world.kms.policies.put_identity_policy(ROLE_ARN, None)
        world.call("Decrypt", **request(key))

    @pytest.mark.parametrize(
        ("resource", "is_allowed"),
        [("*", True), ("own", True), (f"arn:aws:kms:*:{ACCOUNT_ID}:key/*", True), ("arn:aws:kms:*:*:key/x", False)],
    )
    def test_name_keys_by_their_arn(self, world: KmsWorld, resource: str, is_allowed: bool) -> None:
        key = world.kms.create_key(policy=BY_ACCOUNT)
        text = statements(("Allow", "kms:Decrypt"), Resource=key.arn if resource == "own" else resource)
        world.kms.policies.put_identity_policy(ROLE_ARN, text)

        if is_allowed:
            world.call("Decrypt", **request(key))
        else:
            assert "no identity-based policy" in (world.fault("Decrypt", **request(key)).message or "")

    @pytest.mark.parametrize(
        ("operation", "parameters"),
        [("GenerateRandom", {"NumberOfBytes": 8}), ("CreateKey", {}), ("ListKeys", {})],
    )
    def test_decide_alone_where_no_key_is_used(
        self, world: KmsWorld, operation: str, parameters: dict[str, object]
    ) -> None:
        world.call(operation, **parameters)
        for resource in ("*", f"arn:aws:kms:us-east-1:{ACCOUNT_ID}:key/*"):
            text = statements(("Allow", f"kms:{operation}"), Resource=resource)
            world.kms.policies.put_identity_policy(ROLE_ARN, text)
            if resource == "*":
                world.call(operation, **parameters)
            else:
                assert world.fault(operation, **parameters).message == (
                    f"User: {SESSION_ARN} is not authorized to perform: kms:{operation} on resource: *"
                    f" because no identity-based policy allows the kms:{operation} action"
                )

    def test_of_another_account_must_allow_it_besides_the_key_policy(self, world: KmsWorld) -> None:
        from nitro_attestation.key_policy.principals import Principal

        stranger = Principal(
            "arn:aws:sts::444455556666:assumed-role/R/s", "444455556666", "arn:aws:iam::444455556666:role/R"
        )
        key = world.kms.create_key(policy=policy(allow("kms:Decrypt", principal={"AWS": stranger.role_arn})))
        world.kms.call("Decrypt", dict(request(key)), stranger)
        world.kms.policies.put_identity_policy(str(stranger.role_arn), statements(("Allow", "ec2:*")))

        with pytest.raises(Exception, match="because no identity-based policy allows the kms:Decrypt action"):
            world.kms.call("Decrypt", dict(request(key)), stranger)


class TestConditions:
    @pytest.mark.parametrize(
        ("operator", "key", "value", "is_allowed"),
        [
            ("StringEquals", "aws:SourceVpce", "vpce-0123456789abcdef0", True),
            ("StringEquals", "aws:SourceVpce", "vpce-1", False),
            ("StringEquals", "aws:SourceVpc", "vpc-0123456789abcdef0", True),
            ("StringEquals", "aws:RequestedRegion", "us-east-1", True),
            ("StringEquals", "kms:KeySpec", "SYMMETRIC_DEFAULT", True),
            ("StringEquals", "kms:KeyUsage", "SIGN_VERIFY", False),
            ("StringEquals", "kms:KeyOrigin", "AWS_KMS", True),
            ("DateGreaterThan", "aws:CurrentTime", "2020-01-01T00:00:00Z", True),
            ("NumericLessThan", "aws:EpochTime", "1600000000", False),
        ],
    )
    def test_see_the_way_the_time_and_the_key(
        self, world: KmsWorld, *, operator: str, key: str, value: str, is_allowed: bool
    ) -> None:
        world.kms.policies.put_vpc_endpoint_policy(statements(("Allow", "*"), principal=True))
        kms_key = world.kms.create_key(policy=policy(allow("kms:Decrypt", condition={operator: {key: value}})))

        if is_allowed:
            world.call("Decrypt", **request(kms_key))
        else:
            assert world.fault("Decrypt", **request(kms_key)).code == "AccessDeniedException"

    def test_of_a_vpc_endpoint_are_absent_without_one(self, world: KmsWorld) -> None:
        absent = {"Null": {"aws:SourceVpce": "true"}}
        key = world.kms.create_key(policy=policy(allow("kms:Decrypt", condition=absent), deny("kms:Sign")))
        world.call("Decrypt", **request(key))
        world.kms.policies.put_vpc_endpoint_policy(statements(("Allow", "*"), principal=True))
        assert world.fault("Decrypt", **request(key)).code == "AccessDeniedException"
        world.kms.policies.put_vpc_endpoint_policy(None)
        world.call("Decrypt", **request(key))
