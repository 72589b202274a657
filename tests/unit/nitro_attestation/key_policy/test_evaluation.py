from __future__ import annotations

from typing import Any

import pytest

from nitro_attestation.key_policy.evaluation import AccessRequest, Decision, Verdict, evaluate_policy
from nitro_attestation.key_policy.parsing import parse_policy
from nitro_attestation.key_policy.principals import Principal
from tests.support.kms.world import ACCOUNT_ID, PCR0, ROLE_ARN, ROOT_ARN, SESSION_ARN, allow, deny, policy

KEY_ARN = f"arn:aws:kms:us-east-1:{ACCOUNT_ID}:key/12345678-1234-1234-1234-123456789012"
CALLER = Principal(SESSION_ARN, ACCOUNT_ID, ROLE_ARN)
IMAGE = "kms:RecipientAttestation:ImageSha384"
PCR_0 = "kms:RecipientAttestation:PCR0"


def _decide(
    *statements: dict[str, Any],
    context: dict[str, str] | None = None,
    principal: Principal = CALLER,
    action: str = "kms:Decrypt",
) -> Decision:
    parsed = parse_policy(policy(*statements, with_administration=False))
    return evaluate_policy(parsed, AccessRequest(principal, action, KEY_ARN, context or {}))


@pytest.mark.parametrize(
    "principal", ["*", {"AWS": "*"}, {"AWS": ROLE_ARN}, {"AWS": SESSION_ARN}, {"AWS": [ROOT_ARN, ROLE_ARN]}]
)
def test_statement_that_names_the_caller_allows_directly(principal: object) -> None:
    decision = _decide(allow("kms:Decrypt", principal=principal))

    assert decision.is_allowed
    assert not decision.is_left_to_iam


@pytest.mark.parametrize("name", [ROOT_ARN, ACCOUNT_ID])
def test_account_principal_leaves_the_decision_to_iam(name: str) -> None:
    decision = _decide(allow("kms:Decrypt", principal={"AWS": name}))

    assert decision.is_allowed
    assert decision.is_left_to_iam
    assert decision.explanation == "allow by statement 1 through the account's IAM policies"


def test_statement_for_the_role_decides_before_one_for_its_account() -> None:
    decision = _decide(allow("kms:*", principal={"AWS": ROOT_ARN}), allow("kms:Decrypt"))

    assert not decision.is_left_to_iam
    assert decision.explanation == "allow by statement 2"


@pytest.mark.parametrize(
    "name",
    [
        "arn:aws:iam::444455556666:root",
        "444455556666",
        f"arn:aws:iam::{ACCOUNT_ID}:role/Other",
        f"{SESSION_ARN[:-1]}1",
        f"arn:aws:iam::{ACCOUNT_ID}:user/EnclaveInstanceRole",
    ],
)
def test_statement_for_somebody_else_does_not_apply(name: str) -> None:
    decision = _decide(allow("kms:Decrypt", principal={"AWS": name}))

    assert decision.verdict is Verdict.IMPLICIT_DENY
    assert "Principal" in decision.explanation


def test_service_principal_names_no_caller() -> None:
    assert not _decide(allow("kms:Decrypt", principal={"Service": "ec2.amazonaws.com"})).is_allowed


@pytest.mark.parametrize("action", ["*", "kms:*", "kms:Decrypt", "KMS:decrypt", "kms:Dec*", "kms:Decryp?"])
def test_action_pattern_matches(action: str) -> None:
    assert _decide(allow(action)).is_allowed


@pytest.mark.parametrize("action", ["kms:Encrypt", "kms:DecryptX", "s3:*", "kms:Decryp"])
def test_action_pattern_does_not_match(action: str) -> None:
    assert not _decide(allow(action)).is_allowed


def test_not_action_is_about_all_other_actions() -> None:
    statement = allow("kms:Decrypt")
    statement["NotAction"] = statement.pop("Action")

    assert not _decide(statement).is_allowed
    assert _decide(statement, action="kms:Encrypt").is_allowed


@pytest.mark.parametrize(("resource", "is_allowed"), [("*", True), (KEY_ARN, True), (KEY_ARN[:-1] + "0", False)])
def test_resource_is_this_key_or_none(resource: str, is_allowed: bool) -> None:
    assert _decide(allow("kms:Decrypt") | {"Resource": resource}).is_allowed is is_allowed


def test_without_statement_for_it_the_request_is_denied_implicitly() -> None:
    decision = _decide(allow("kms:Encrypt"))

    assert (decision.verdict, decision.statement) == (Verdict.IMPLICIT_DENY, None)


@pytest.mark.parametrize("deny_first", [True, False])
def test_explicit_deny_wins_whatever_the_order(deny_first: bool) -> None:
    statements = [deny("kms:*"), allow("kms:*")]

    decision = _decide(*statements if deny_first else reversed(statements))

    assert decision.verdict is Verdict.EXPLICIT_DENY
    assert decision.statement is not None
    assert decision.statement.effect == "Deny"


def test_deny_of_an_account_denies_its_roles() -> None:
    decision = _decide(allow("kms:*"), deny("kms:Decrypt", principal={"AWS": ROOT_ARN}))

    assert decision.verdict is Verdict.EXPLICIT_DENY


def test_image_condition_allows_this_image_only() -> None:
    statement = allow("kms:Decrypt", condition={"StringEquals": {IMAGE: PCR0}})

    assert _decide(statement, context={IMAGE: PCR0}).is_allowed
    assert not _decide(statement, context={IMAGE: "00" * 48}).is_allowed
    assert not _decide(statement).is_allowed


def test_deny_unless_image_denies_requests_without_document_too() -> None:
    statements = [allow("kms:*"), deny("kms:Decrypt", condition={"StringNotEqualsIgnoreCase": {IMAGE: PCR0.upper()}})]

    assert _decide(*statements, context={IMAGE: PCR0}).is_allowed
    assert _decide(*statements, context={IMAGE: "00" * 48}).verdict is Verdict.EXPLICIT_DENY
    assert _decide(*statements).verdict is Verdict.EXPLICIT_DENY


def test_all_conditions_must_hold() -> None:
    condition = {"StringEquals": {IMAGE: "aa", PCR_0: "bb"}, "Bool": {"aws:SecureTransport": "true"}}
    context = {IMAGE: "aa", PCR_0: "bb", "aws:SecureTransport": "true"}

    assert _decide(allow("kms:Decrypt", condition=condition), context=context).is_allowed
    for name in context:
        assert not _decide(allow("kms:Decrypt", condition=condition), context=context | {name: "x"}).is_allowed


def test_decision_explains_which_condition_failed() -> None:
    decision = _decide(
        allow("kms:Decrypt", condition={"StringEquals": {IMAGE: PCR0}}) | {"Sid": "Attested"},
        allow("kms:Encrypt"),
        context={IMAGE: "00" * 48},
    )

    assert decision.explanation.splitlines() == [
        "implicit deny: no statement applies",
        f"statement 1 (Attested): StringEquals {IMAGE}: expected {PCR0}, got {'00' * 48}",
        "statement 2: Action: is not about kms:Decrypt",
    ]
    assert [result.matches for result in decision.results] == [False, False]
    assert decision.results[0].conditions[0].actual == "00" * 48
