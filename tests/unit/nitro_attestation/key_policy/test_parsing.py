from __future__ import annotations

import json
from typing import Any

import pytest

from nitro_attestation.errors import PolicyError
from nitro_attestation.key_policy.conditions.condition import Condition
from nitro_attestation.key_policy.model import MAX_POLICY_BYTES, Effect, default_policy
from nitro_attestation.key_policy.parsing import parse_policy
from nitro_attestation.key_policy.principals import PrincipalKind
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
    assert (statement.actions, statement.resources) == (("kms:Decrypt",), ("*",))
    assert [(name.text, name.kind) for name in statement.principals] == [(ROLE_ARN, PrincipalKind.ROLE)]
    assert statement.conditions == (
        Condition("StringEquals", "kms:RecipientAttestation:PCR0", ("aa", "bb")),
        Condition("StringEquals", "kms:CallerAccount", (ACCOUNT_ID,)),
    )


def test_single_statement_may_stand_without_list() -> None:
    assert len(parse_policy(json.dumps({"Statement": STATEMENT})).statements) == 1


def test_default_policy_of_kms_parses() -> None:
    (name,) = parse_policy(default_policy(ACCOUNT_ID)).statements[0].principals
    assert (name.text, name.kind, name.account_id) == (ROOT_ARN, PrincipalKind.ACCOUNT, ACCOUNT_ID)


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
        ({"Condition": {"ForAll:StringEquals": {"kms:EncryptionContextKeys": "a"}}}, "ForAll:StringEquals"),
        ({"Condition": {"ForAnyValue:Null": {"kms:EncryptionContextKeys": "true"}}}, "ForAnyValue:Null"),
        ({"Condition": {"NullIfExists": {"kms:CallerAccount": "true"}}}, "NullIfExists"),
        ({"Condition": {"StringEquals": "kms:CallerAccount"}}, "StringEquals"),
        ({"Condition": {"StringEquals": {"CallerAccount": "1"}}}, "CallerAccount"),
        ({"Condition": {"StringEquals": {"kms:CallerAccount": []}}}, "kms:CallerAccount"),
        ({"Condition": {"StringEquals": {"kms:CallerAccount": None}}}, "kms:CallerAccount"),
        ({"Condition": {"NumericEquals": {"aws:MultiFactorAuthAge": "${aws:EpochTime}"}}}, "a number"),
        ({"Condition": {"DateLessThan": {"aws:CurrentTime": "tomorrow"}}}, "a date"),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}}, "an IP address"),
        ({"Condition": {"ArnLike": {"aws:PrincipalArn": "*"}}}, "an ARN of six parts"),
        ({"Condition": {"BinaryEquals": {"kms:x": "no base64!"}}}, "base64"),
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
def test_text_that_is_not_a_policy_is_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        parse_policy(text)


def test_output_of_get_key_policy_is_unwrapped() -> None:
    text = _policy()
    for wrapped in (
        json.dumps({"Policy": text, "PolicyName": "default"}),
        json.dumps({"Policy": text}),
        json.dumps(text),
    ):
        assert parse_policy(wrapped) == parse_policy(text)


def test_policy_as_large_as_kms_takes_may_be_wrapped() -> None:
    text = _policy()
    full = text + " " * (MAX_POLICY_BYTES - len(text))
    assert parse_policy(json.dumps({"Policy": full, "PolicyName": "default"})) == parse_policy(text)
    with pytest.raises(PolicyError, match="at most"):
        parse_policy(json.dumps({"Policy": full + " ", "PolicyName": "default"}))


@pytest.mark.parametrize("wrapped", [{"Policy": "{"}, {"Policy": 7}, {"Policy": "[]"}, {"Policy": '"x"'}])
def test_wrapped_text_that_is_not_a_policy_is_refused(wrapped: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        parse_policy(json.dumps(wrapped))


def test_all_elements_of_iams_grammar_are_read() -> None:
    changes = {"Principal": ..., "NotPrincipal": {"AWS": ROLE_ARN}, "Effect": "Deny"}
    (statement,) = parse_policy(_policy(Resource=..., NotResource="arn:aws:kms:*:*:key/x", **changes)).statements

    assert (statement.is_not_principal, statement.is_not_resource) == (True, True)
    assert statement.problems == ()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("AROAEXAMPLEID12345678", PrincipalKind.DELETED),
        ("AIDAEXAMPLEID12345678", PrincipalKind.DELETED),
        (f"arn:aws:sts::{ACCOUNT_ID}:federated-user/ann", PrincipalKind.FEDERATED_USER),
        (SESSION_ARN, PrincipalKind.SESSION),
        (f"arn:aws:iam::{ACCOUNT_ID}:user/ann", PrincipalKind.USER),
    ],
)
def test_principal_is_told_by_its_name(name: str, kind: PrincipalKind) -> None:
    (statement,) = parse_policy(_policy(Principal={"AWS": name})).statements
    assert [principal.kind for principal in statement.principals] == [kind]


@pytest.mark.parametrize(("version", "is_variable"), [("2012-10-17", True), ("2008-10-17", False), (None, False)])
def test_variables_are_part_of_the_newer_version_alone(version: str | None, is_variable: bool) -> None:
    condition = {"StringEquals": {"kms:EncryptionContext:owner": "${aws:username}"}}
    document = {"Statement": [STATEMENT | {"Condition": condition}]} | ({"Version": version} if version else {})
    (statement,) = parse_policy(json.dumps(document)).statements
    assert [each.has_variables for each in statement.conditions] == [is_variable]


def test_malformed_statement_is_kept_with_its_problems_on_request() -> None:
    odd = STATEMENT | {"Sid": "Odd", "Effect": "allow", "Condition": {"NumericBetween": {"aws:EpochTime": "1"}}}
    text = json.dumps({"Version": "2012-10-17", "Statement": [STATEMENT, odd]})
    policy = parse_policy(text, keep_odd_statements=True)

    assert [len(statement.problems) for statement in policy.statements] == [0, 2]
    assert policy.statements[1].effect is None
    with pytest.raises(PolicyError, match=r"statement 2 \(Odd\): Effect: expected Allow or Deny"):
        parse_policy(text)


def test_error_names_a_statement_without_sid_by_its_number() -> None:
    text = json.dumps({"Statement": [STATEMENT, STATEMENT | {"Sid": None, "Action": "Decrypt"}]})
    with pytest.raises(PolicyError, match=r"statement 2: Action: malformed: "):
        parse_policy(text)


def test_element_that_is_not_a_statement_is_kept_too() -> None:
    policy = parse_policy(json.dumps({"Version": "x", "Statement": [STATEMENT, 7]}), keep_odd_statements=True)

    assert policy.problems
    assert policy.statements[1].problems
