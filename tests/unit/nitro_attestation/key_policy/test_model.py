from __future__ import annotations

import json
from typing import Any

import pytest

from nitro_attestation.errors import PolicyError
from nitro_attestation.key_policy.conditions import Condition
from nitro_attestation.key_policy.model import MAX_POLICY_BYTES, Effect, default_policy, parse_policy
from tests.support.kms.world import ACCOUNT_ID, ROLE_ARN, ROOT_ARN, SESSION_ARN

STATEMENT: dict[str, Any] = {
    "Sid": "Attested",
    "Effect": "Allow",
    "Principal": {"AWS": ROLE_ARN},
    "Action": "kms:Decrypt",
    "Resource": "*",
    "Condition": {"StringEquals": {"kms:RecipientAttestation:PCR0": ["aa", "bb"], "kms:CallerAccount": ACCOUNT_ID}},
}


def _policy(**changes: Any) -> str:
    statement = {name: value for name, value in (STATEMENT | changes).items() if value is not ...}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_statement_is_read_whole() -> None:
    (statement,) = parse_policy(_policy()).statements

    assert (statement.sid, statement.effect, statement.label) == ("Attested", Effect.ALLOW, "statement 1 (Attested)")
    assert (statement.aws_principals, statement.actions, statement.resources) == ((ROLE_ARN,), ("kms:Decrypt",), ("*",))
    assert statement.conditions == (
        Condition("StringEquals", "kms:RecipientAttestation:PCR0", ("aa", "bb")),
        Condition("StringEquals", "kms:CallerAccount", (ACCOUNT_ID,)),
    )


def test_single_statement_may_stand_without_list() -> None:
    assert len(parse_policy(json.dumps({"Statement": STATEMENT})).statements) == 1


def test_default_policy_of_kms_parses() -> None:
    assert parse_policy(default_policy(ACCOUNT_ID)).statements[0].aws_principals == (ROOT_ARN,)


@pytest.mark.parametrize(
    "principal",
    [
        "*",
        {"AWS": "*"},
        {"AWS": ACCOUNT_ID},
        {"AWS": [ROLE_ARN, SESSION_ARN, ROOT_ARN]},
        {"AWS": f"arn:aws:iam::{ACCOUNT_ID}:user/path/name"},
        {"AWS": f"arn:aws:iam::{ACCOUNT_ID}:role/path/name"},
        {"AWS": f"arn:aws-cn:iam::{ACCOUNT_ID}:root"},
        {"Service": "logs.us-east-1.amazonaws.com"},
        {"AWS": ROLE_ARN, "Federated": "cognito-identity.amazonaws.com"},
    ],
)
def test_principal_is_accepted(principal: object) -> None:
    parse_policy(_policy(Principal=principal))


def test_not_action_is_told_from_action() -> None:
    (statement,) = parse_policy(_policy(Action=..., NotAction=["kms:Decrypt"])).statements

    assert statement.is_not_action


def test_booleans_and_numbers_of_json_count_as_their_text() -> None:
    (statement,) = parse_policy(_policy(Condition={"Bool": {"aws:SecureTransport": True}})).statements

    assert statement.conditions == (Condition("Bool", "aws:SecureTransport", ("true",)),)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"Effect": "allow"}, "Effect"),
        ({"Effect": ...}, "Effect"),
        ({"Principal": ...}, "Principal"),
        ({"Principal": {}}, "Principal"),
        ({"Principal": []}, "Principal"),
        ({"Principal": {"AWS": []}}, "Principal AWS"),
        ({"Principal": {"AWS": "arn:aws:iam::111122223333:role/*"}}, "Principal AWS"),
        ({"Principal": {"AWS": "1111"}}, "Principal AWS"),
        ({"Principal": {"Everyone": "*"}}, "Principal"),
        ({"Principal": {"Service": 7.5}}, "Principal Service"),
        ({"Action": ...}, "Action or NotAction"),
        ({"NotAction": "kms:Encrypt"}, "Action or NotAction"),
        ({"Action": "Decrypt"}, "Action"),
        ({"Action": []}, "Action"),
        ({"Action": ""}, "Action"),
        ({"Resource": ...}, "Resource"),
        ({"Resource": "key"}, "Resource"),
        ({"NotResource": "*"}, "NotResource"),
        ({"NotPrincipal": "*"}, "NotPrincipal"),
        ({"Sid": 7}, "Sid"),
        ({"Condition": []}, "Condition"),
        ({"Condition": {"StringEqual": {"kms:CallerAccount": "1"}}}, "StringEqual"),
        ({"Condition": {"stringequals": {"kms:CallerAccount": "1"}}}, "stringequals"),
        ({"Condition": {"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": "a"}}}, "ForAllValues"),
        ({"Condition": {"NullIfExists": {"kms:CallerAccount": "true"}}}, "NullIfExists"),
        ({"Condition": {"StringEquals": "kms:CallerAccount"}}, "StringEquals"),
        ({"Condition": {"StringEquals": {"CallerAccount": "1"}}}, "CallerAccount"),
        ({"Condition": {"StringEquals": {"kms:CallerAccount": []}}}, "kms:CallerAccount"),
        ({"Condition": {"StringEquals": {"kms:CallerAccount": None}}}, "kms:CallerAccount"),
        ({"Condition": {"StringEquals": {"kms:CallerAccount": "${aws:PrincipalAccount}"}}}, "variables"),
        ({"Condition": {"Bool": {"aws:SecureTransport": "yes"}}}, "Bool"),
        ({"Condition": {"Null": {"aws:SecureTransport": ["true", "no"]}}}, "Null"),
    ],
)
def test_malformed_statement_is_refused_naming_the_element(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(PolicyError) as error:
        parse_policy(_policy(**changes))

    assert named in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        "{}",
        '{"Statement": []}',
        '{"Statement": [7]}',
        '{"Version": "2012-10-18", "Statement": [' + json.dumps(STATEMENT) + "]}",
        '{"Comment": "x", "Statement": [' + json.dumps(STATEMENT) + "]}",
        '{"Statement": [' + json.dumps(STATEMENT) + "," + json.dumps(STATEMENT) + "]}",
        '{"Statement": 7, "Statement": ' + json.dumps(STATEMENT) + "}",
        "[" * 100_000,
        json.dumps({"Statement": STATEMENT}) + " " * MAX_POLICY_BYTES,
    ],
)
def test_text_that_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        parse_policy(text)
