from __future__ import annotations

from typing import Any

import pytest

from nitro_attestation.key_policy.findings import Finding, FindingKind, find_findings
from nitro_attestation.key_policy.parsing import parse_policy
from tests.support.kms.world import PCR0, ROLE_ARN, allow, deny, policy

IMAGE = {"StringEqualsIgnoreCase": {"kms:RecipientAttestation:PCR0": PCR0}}
OTHER_IMAGES = {"StringNotEqualsIgnoreCase": {"kms:RecipientAttestation:PCR0": PCR0}}


def _findings(*statements: dict[str, Any]) -> tuple[Finding, ...]:
    text = policy(*statements, with_administration=False)
    return find_findings(parse_policy(text, keep_odd_statements=True))


def test_plain_policy_has_no_findings() -> None:
    assert _findings(allow("kms:Decrypt", condition=IMAGE), deny("kms:Decrypt", condition=OTHER_IMAGES)) == ()


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        (
            allow("kms:Sign", condition=IMAGE),
            "kms:Sign takes no attestation document, so this Allow never allows it",
        ),
        (
            allow(["kms:Decrypt", "kms:ReEncrypt*"], condition=IMAGE),
            (
                "kms:ReEncrypt* covers kms:ReEncryptFrom, kms:ReEncryptTo, which take no attestation document,"
                " so this Allow never allows them"
            ),
        ),
        (
            allow("kms:Sign", condition=OTHER_IMAGES),
            "kms:Sign takes no attestation document, and the condition does not restrict it",
        ),
        (
            deny("kms:Sign", condition=OTHER_IMAGES),
            "kms:Sign takes no attestation document, so this Deny always applies to it",
        ),
        (
            deny("kms:Sign", condition=IMAGE),
            "kms:Sign takes no attestation document, so this Deny never applies to it",
        ),
    ],
)
def test_action_without_document_is_reported_with_its_consequence(statement: dict[str, Any], text: str) -> None:
    assert [(finding.text, finding.kind) for finding in _findings(statement)] == [(text, FindingKind.NOTE)]


def test_pattern_for_everything_names_a_few_actions() -> None:
    (finding,) = _findings(deny("kms:*", condition=OTHER_IMAGES, principal="*"))
    assert finding.text.startswith(
        "kms:* covers kms:Sign, kms:ReEncryptFrom, kms:ReEncryptTo and others, which take no"
    )


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("kms:RecipientAttestation", "the closest one is kms:RecipientAttestation:ImageSha384"),
        ("kms:RecipientAttestation:PCR00", "the closest one is kms:RecipientAttestation:PCR0"),
        ("aws:SourceVpcEndpoint", 'AWS has no condition key "aws:SourceVpcEndpoint"; the closest one is'),
    ],
)
def test_wrong_key_is_an_error_and_names_the_nearest(key: str, text: str) -> None:
    (finding,) = _findings(allow("kms:Decrypt", condition={"StringEquals": {key: PCR0}}))
    assert finding.kind is FindingKind.WRONG
    assert text in str(finding)
    assert str(finding).startswith("statement 1: ")


def test_key_that_no_action_of_the_statement_has_is_pointed_out() -> None:
    (finding,) = _findings(allow("kms:Decrypt", condition={"StringEquals": {"kms:SigningAlgorithm": "x"}}))
    assert "kms:SigningAlgorithm" in finding.text


def test_principals_and_resources_with_a_misleading_meaning_are_reported() -> None:
    statement = deny("kms:Decrypt") | {"NotPrincipal": {"AWS": [ROLE_ARN, "AROAEXAMPLEID12345678"]}}
    del statement["Principal"]
    statement["Resource"] = "arn:aws:kms:us-east-1:111122223333:key/x"
    deleted, not_principal, resource = [finding.text for finding in _findings(statement)]
    assert "names nobody" in deleted
    assert "session, role and account" in not_principal
    assert "--key-arn" in resource


def test_odd_statement_is_an_error_that_names_it() -> None:
    (finding,) = _findings(allow("kms:Decrypt") | {"Sid": "Odd", "Effect": "allow"})
    assert finding.kind is FindingKind.MALFORMED
    assert str(finding).startswith('statement 1 (Odd): Effect: expected Allow or Deny, got "allow"')
