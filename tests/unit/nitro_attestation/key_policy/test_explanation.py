from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from nitro_attestation.key_policy.conditions.keys import IMAGE_KEY
from nitro_attestation.key_policy.context import parse_caller
from nitro_attestation.key_policy.explanation import Explanation, Outcome, explain_policy
from nitro_attestation.key_policy.parsing import parse_policy
from nitro_attestation.key_policy.report import explanation_json, explanation_text
from tests.support.attestation.documents import PCRS, ROLE_ARN, ROOT_ARN
from tests.support.kms.world import allow, deny, policy

PCR0 = PCRS[0].hex()
DOCUMENT = {index: bytes(48) for index in range(16)} | PCRS
DEBUG = DOCUMENT | dict.fromkeys((0, 1, 2), bytes(48))
ROLE = {"AWS": ROLE_ARN}


def _explain(
    *statements: dict[str, Any],
    pcrs: Mapping[int, bytes] = DOCUMENT,
    operation: str = "Decrypt",
    encryption_context: dict[str, str] | None = None,
) -> Explanation:
    """Explain one operation, whose statements most tests are about."""
    return explain_policy(
        parse_policy(policy(*statements, with_administration=False)),
        caller=parse_caller(ROLE_ARN),
        operations=[operation],
        pcrs=pcrs,
        encryption_context=encryption_context or {},
    )


def _why(condition: dict[str, Any], pcrs: Mapping[int, bytes] = DOCUMENT) -> str:
    (statement,) = (
        _explain(allow("kms:Decrypt", condition=condition, principal=ROLE), pcrs=pcrs).operations[0].statements
    )
    (why,) = [explained.why for explained in statement.conditions if not explained.result.holds]
    assert why is not None
    return why


def _image(value: str, operator: str = "StringEqualsIgnoreCase") -> dict[str, Any]:
    return {operator: {IMAGE_KEY: value}}


@pytest.mark.parametrize(
    ("condition", "pcrs", "why"),
    [
        (_image("0" * 96), DOCUMENT, "the policy has zeros"),
        (_image(PCR0), DEBUG, "the enclave runs in debug mode"),
        (_image("0" * 95), DEBUG, "the enclave runs in debug mode"),
        (_image(PCR0.upper(), "StringEquals"), DOCUMENT, "only the case differs, and StringEquals is case-sensitive"),
        (_image(PCRS[1].hex()), DOCUMENT, "the document's PCR1"),
        (_image("c0ffee" * 16), DOCUMENT, "another image"),
        (_image(PCR0[:-1]), DOCUMENT, "has 95 characters"),
        (_image(f"{PCR0} "), DOCUMENT, "has 97 characters"),
        (_image("Y*", "StringLike"), DOCUMENT, "another image"),
        ({"StringEquals": {"kms:RecipientAttestation:PCR8": "ab" * 48}}, DOCUMENT, "the image is not signed"),
        ({"StringEquals": {"kms:RecipientAttestation:PCR3": "ab" * 48}}, DOCUMENT, "another IAM role"),
        ({"StringEquals": {"kms:RecipientAttestation:PCR3": "ab" * 48}}, DEBUG | {3: bytes(48)}, "no IAM role"),
        ({"StringEquals": {"kms:RecipientAttestation:PCR12": "ab" * 48}}, DOCUMENT, "PCR12 is not in use"),
        ({"StringEquals": {"kms:RecipientAttestation:PCR16": "ab" * 48}}, DOCUMENT, "the document has no PCR16"),
        ({"StringEquals": {"kms:RecipientAttestation:ImageSha348": PCR0}}, DOCUMENT, "KMS has no condition key"),
        ({"Null": {"kms:RecipientAttestation:Image": "false"}}, DOCUMENT, "KMS has no condition key"),
        ({"Null": {IMAGE_KEY: "true"}}, DOCUMENT, "every enclave's document has PCR0"),
        ({"StringEquals": {"kms:RecipientAttestation:NitroTPMPCR4": PCR0}}, DOCUMENT, "NitroTPM"),
        ({"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}, DOCUMENT, "calls KMS directly"),
        ({"StringEquals": {"kms:EncryptionContext:purpose": "x"}}, DOCUMENT, "--encryption-context"),
        ({"StringEquals": {"aws:SourceVpc": "vpc-1"}}, DOCUMENT, "in a request is unknown"),
        ({"StringEquals": {"aws:PrincipalArn": ROLE_ARN.upper()}}, DOCUMENT, "only the case differs"),
    ],
)
def test_failing_condition_is_explained(condition: dict[str, Any], pcrs: Mapping[int, bytes], why: str) -> None:
    assert why in _why(condition, pcrs)


def test_condition_that_cannot_be_explained_has_no_why() -> None:
    explanation = _explain(allow("kms:Decrypt", condition={"StringEquals": {"kms:CallerAccount": "4"}}, principal=ROLE))
    assert explanation.operations[0].statements[0].conditions[0].why is None


def test_every_condition_is_there_whether_it_holds_or_not() -> None:
    condition = {
        "StringEquals": {IMAGE_KEY: PCR0, "kms:RecipientAttestation:PCR1": "ab" * 48, "aws:SecureTransport": "true"}
    }
    (statement,) = _explain(allow("kms:Decrypt", condition=condition, principal=ROLE)).operations[0].statements
    assert [explained.result.holds for explained in statement.conditions] == [True, False, True]


def test_statement_for_another_principal_names_whom_it_is_for() -> None:
    (statement,) = (
        _explain(allow("kms:Decrypt", principal={"AWS": "444455556666", "Service": "x.amazonaws.com"}))
        .operations[0]
        .statements
    )
    assert statement.why == "it names 444455556666, x.amazonaws.com"


def test_statement_about_another_action_names_it() -> None:
    explanation = _explain(allow(["kms:Encrypt", "kms:List*"], principal=ROLE))
    assert explanation.operations[0].statements[0].why == "it is about kms:Encrypt, kms:List*"
    assert explanation.outcome is Outcome.DENIED


def test_allow_for_the_account_says_that_iam_decides() -> None:
    explanation = _explain(allow("kms:*", principal={"AWS": ROOT_ARN}))
    assert "IAM policies" in (explanation.operations[0].statements[0].why or "")
    assert explanation.outcome is Outcome.ALLOWED_WITH_GAPS


def test_denial_that_applies_says_why_its_condition_holds() -> None:
    guard = deny("kms:*", condition=_image("c0ffee" * 16, "StringNotEqualsIgnoreCase"), principal="*")
    explanation = _explain(allow("kms:Decrypt", condition=_image(PCR0), principal=ROLE), guard)
    (explained,) = explanation.operations[0].statements[1].conditions
    assert explained.result.holds
    assert "another image" in (explained.why or "")
    assert explanation.outcome is Outcome.DENIED


def test_denial_that_does_not_apply_finds_no_fault() -> None:
    guard = deny("kms:*", condition=_image(PCR0, "StringNotEqualsIgnoreCase"), principal="*")
    explanation = _explain(allow("kms:Decrypt", condition=_image(PCR0), principal=ROLE), guard)
    assert [explained.why for explained in explanation.operations[0].statements[1].conditions] == [None]
    assert explanation.outcome is Outcome.ALLOWED


def test_encryption_context_that_is_given_counts() -> None:
    condition = _image(PCR0) | {"StringEquals": {"kms:EncryptionContext:purpose": "test"}}
    statement = allow("kms:Decrypt", condition=condition, principal=ROLE)
    assert _explain(statement).outcome is Outcome.DENIED
    assert _explain(statement, encryption_context={"purpose": "test"}).outcome is Outcome.ALLOWED


def test_exit_code_tells_allowed_from_allowed_with_gaps() -> None:
    attested = allow("kms:Decrypt", condition=_image(PCR0), principal=ROLE)
    assert _explain(attested).outcome is Outcome.ALLOWED
    assert _explain(attested, allow("kms:Decrypt", principal=ROLE)).outcome is Outcome.ALLOWED_WITH_GAPS


def test_text_shows_each_statement_and_the_verdict() -> None:
    statements = [
        allow("kms:Encrypt", principal=ROLE) | {"Sid": "Encryption"},
        allow("kms:Decrypt", condition=_image(PCR0), principal=ROLE),
    ]
    assert explanation_text(_explain(*statements, pcrs=DEBUG), "of x").splitlines() == [
        f"caller     {ROLE_ARN}",
        "operation  kms:Decrypt",
        "document   of x",
        "",
        "statement 1 (Encryption), Allow: does not apply",
        "  Action: is not about kms:Decrypt",
        "    it is about kms:Encrypt",
        "",
        "statement 2, Allow: does not apply",
        f"  fails  StringEqualsIgnoreCase {IMAGE_KEY}: expected {PCR0}, got {'0' * 96}",
        "    the enclave runs in debug mode and shows zeros in PCR0: run it without --debug-mode",
        "",
        "verdict    implicit deny: no statement applies",
    ]


def test_text_cannot_steer_a_terminal() -> None:
    statement = allow("kms:Decrypt", principal=ROLE) | {"Sid": "\x1b[2J"}
    assert "\x1b" not in explanation_text(_explain(statement), "of \x1b[2J")


def test_json_holds_what_the_text_says_and_the_gaps() -> None:
    attested = allow("kms:Decrypt", condition=_image("0" * 96), principal=ROLE)
    shown = json.loads(explanation_json(_explain(attested, allow("kms:Decrypt", principal=ROLE))))
    assert (shown["Allowed"], shown["DecidedBy"], shown["LeftToIam"]) == (True, "statement 2", False)
    (condition,) = shown["Statements"][0]["Conditions"]
    assert (condition["Key"], condition["Expected"], condition["Got"]) == (IMAGE_KEY, ["0" * 96], PCR0)
    assert condition["Holds"] is False
    assert "zeros" in condition["Why"]
    assert [(gap["Statement"], gap["Kind"]) for gap in shown["Gaps"]] == [
        ("statement 1", "DEBUG_MODE"),
        ("statement 2", "NO_DOCUMENT"),
    ]
