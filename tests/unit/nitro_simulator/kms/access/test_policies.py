"""Policies without principals: what is read, and what an error says."""

from __future__ import annotations

import json

import pytest

from nitro_attestation.errors import PolicyError
from nitro_simulator.kms.access.policies import AccountPolicies, PolicyKind, parse_identity_policy
from tests.support.kms.world import ROLE_ARN

ALLOW = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}


def test_one_statement_needs_no_list() -> None:
    for statement in (ALLOW, [ALLOW]):
        parsed = parse_identity_policy(json.dumps({"Version": "2012-10-17", "Statement": statement}))
        assert [each.actions for each in parsed.statements] == [("kms:*",)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", r"not JSON \(.*\)"),
        ("[]", "expected an object, got list"),
        ("{}", "key policy: has no Statement"),
        (json.dumps({"Statement": {**ALLOW, "Principal": "*"}}), "statement 1: Principal is not part of such a policy"),
        (json.dumps({"Statement": [ALLOW, {**ALLOW, "NotPrincipal": "*"}]}), "statement 2: NotPrincipal is not part"),
        (json.dumps({"Statement": {**ALLOW, "Effect": "Permit"}}), "statement 1: Effect: "),
    ],
)
@pytest.mark.parametrize("kind", [PolicyKind.IDENTITY, PolicyKind.SERVICE_CONTROL])
def test_malformed_policy_is_refused_under_its_kind(text: str, reason: str, kind: PolicyKind) -> None:
    with pytest.raises(PolicyError, match=f"^{kind}: ({reason})"):
        parse_identity_policy(text, kind=kind)


def test_policies_are_parsed_before_they_are_put() -> None:
    policies = AccountPolicies()
    with pytest.raises(PolicyError, match=r"^service control policy: "):
        policies.put_service_control_policy("{")
    with pytest.raises(PolicyError, match=r"^identity-based policy: "):
        policies.put_identity_policy(ROLE_ARN, "{")
    assert policies.service_control is None


def test_policy_of_a_vpc_endpoint_names_principals() -> None:
    policies = AccountPolicies()
    with pytest.raises(PolicyError, match=r"^VPC endpoint policy: statement 1: needs either Principal or"):
        policies.put_vpc_endpoint_policy(json.dumps({"Statement": ALLOW}))
    policies.put_vpc_endpoint_policy(json.dumps({"Statement": {**ALLOW, "Principal": "*"}}))
    assert policies.context()["aws:SourceVpce"].startswith("vpce-")
