from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nitro_attestation.key_policy.conditions.condition import Condition, evaluate_condition
from nitro_attestation.key_policy.conditions.operators import wildcard_match

KEY = "kms:RecipientAttestation:ImageSha384"
PCR0 = "ab" * 48


def _holds(operator: str, values: tuple[str, ...], actual: str | None, key: str = KEY) -> bool | None:
    context = {} if actual is None else {KEY.lower(): actual}
    return evaluate_condition(Condition(operator, key, values), context).holds


@pytest.mark.parametrize(
    ("operator", "value", "actual", "holds"),
    [
        ("StringEquals", PCR0, PCR0, True),
        ("StringEquals", PCR0.upper(), PCR0, False),
        ("StringEquals", PCR0[:-1], PCR0, False),
        ("StringEquals", "ab*", PCR0, False),
        ("StringEqualsIgnoreCase", PCR0.upper(), PCR0, True),
        ("StringEqualsIgnoreCase", "cd" * 48, PCR0, False),
        ("StringNotEquals", PCR0, PCR0, False),
        ("StringNotEquals", PCR0.upper(), PCR0, True),
        ("StringNotEqualsIgnoreCase", PCR0.upper(), PCR0, False),
        ("StringNotEqualsIgnoreCase", "cd" * 48, PCR0, True),
        ("StringLike", "ab*", PCR0, True),
        ("StringLike", "AB*", PCR0, False),
        ("StringLike", "?b*a?", PCR0, True),
        ("StringNotLike", "ab*", PCR0, False),
        ("StringNotLike", "cd*", PCR0, True),
        ("Bool", "true", "true", True),
        ("Bool", "True", "true", True),
        ("Bool", "false", "true", False),
        ("Null", "true", PCR0, False),
        ("Null", "false", PCR0, True),
    ],
)
def test_operator_on_key_of_the_request(operator: str, value: str, actual: str, holds: bool) -> None:
    assert _holds(operator, (value,), actual) is holds


@pytest.mark.parametrize(
    ("operator", "holds"),
    [
        ("StringEquals", False),
        ("StringEqualsIgnoreCase", False),
        ("StringLike", False),
        ("Bool", False),
        ("StringNotEquals", True),
        ("StringNotEqualsIgnoreCase", True),
        ("StringNotLike", True),
        ("StringEqualsIfExists", True),
        ("StringEqualsIgnoreCaseIfExists", True),
        ("StringLikeIfExists", True),
        ("StringNotEqualsIfExists", True),
        ("BoolIfExists", True),
    ],
)
def test_operator_on_key_the_request_does_not_have(operator: str, holds: bool) -> None:
    value = "true" if operator.startswith("Bool") else PCR0

    assert _holds(operator, (value,), None) is holds


def test_null_tells_whether_the_key_is_absent() -> None:
    assert _holds("Null", ("true",), None)
    assert not _holds("Null", ("false",), None)


def test_if_exists_still_compares_a_key_that_is_there() -> None:
    assert not _holds("StringEqualsIfExists", (PCR0,), "cd" * 48)
    assert not _holds("StringNotEqualsIfExists", (PCR0,), PCR0)


def test_values_are_alternatives_and_negated_operators_match_none_of_them() -> None:
    assert _holds("StringEquals", ("x", PCR0), PCR0)
    assert not _holds("StringNotEquals", ("x", PCR0), PCR0)
    assert _holds("StringNotEquals", ("x", "y"), PCR0)


def test_condition_key_matches_in_any_case() -> None:
    assert _holds("StringEquals", (PCR0,), PCR0, key="KMS:recipientattestation:IMAGESHA384")


def test_result_text_says_what_was_expected_and_what_came() -> None:
    condition = Condition("StringEquals", KEY, ("aa", "bb"))

    assert str(evaluate_condition(condition, {KEY.lower(): "cc"})) == f"StringEquals {KEY}: expected aa or bb, got cc"
    assert str(evaluate_condition(condition, {})).endswith("expected aa or bb, got no such key in the request")


@pytest.mark.parametrize(
    ("operator", "value", "text"),
    [
        ("StringNotEqualsIfExists", "aa", "expected anything but aa, got cc"),
        ("StringEqualsIfExists", "aa", "expected aa, got cc"),
        ("Null", "true", "expected no such key, got cc"),
        ("Null", "False", "expected such a key, got cc"),
    ],
)
def test_result_text_says_the_operators_meaning(operator: str, value: str, text: str) -> None:
    assert str(evaluate_condition(Condition(operator, KEY, (value,)), {KEY.lower(): "cc"})).endswith(text)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("kms:*", "kms:Decrypt", True),
        ("kms:Generate*", "kms:GenerateDataKey", True),
        ("kms:Generate*", "kms:Decrypt", False),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("*", "", True),
        ("a.c", "abc", False),
        ("a*c", "a\nc", True),
        ("a*b*c", "axbybzc", True),
        ("a*b*c", "acb", False),
        ("*ab", "aab", True),
        ("*a?c*", "xxabcxx", True),
        ("a**c", "ac", True),
        ("ab*bc", "abc", False),
    ],
)
def test_wildcards(pattern: str, text: str, matches: bool) -> None:
    assert wildcard_match(pattern, text) is matches


def test_wildcards_answer_soon_on_hostile_pattern() -> None:
    assert not wildcard_match("*" * 5000 + "b", "a" * 200)
    assert not wildcard_match("*a" * 500 + "*b", "a" * 5000)


@given(st.text())
def test_pattern_without_wildcards_matches_itself_only(text: str) -> None:
    plain = re.sub(r"[*?]", "", text)

    assert wildcard_match(plain, plain)
    assert not wildcard_match(plain, plain + "x")


@pytest.mark.parametrize(
    ("operator", "actual", "expected"),
    [
        ("ForAnyValue:StringEquals", ("a", "x"), True),
        ("ForAnyValue:StringEquals", ("x", "y"), False),
        ("ForAnyValue:StringEquals", (), False),
        ("ForAnyValue:StringEqualsIfExists", (), True),
        ("ForAllValues:StringEquals", ("a", "b"), True),
        ("ForAllValues:StringEquals", ("a", "x"), False),
        ("ForAllValues:StringEquals", (), True),
        ("ForAllValues:StringEquals", ("",), True),
        ("ForAnyValue:StringEquals", ("",), False),
        ("ForAnyValue:StringNotEquals", ("a", "x"), True),
        ("ForAnyValue:StringNotEquals", ("a", "b"), False),
        ("ForAnyValue:StringNotEquals", (), False),
        ("ForAllValues:StringNotEquals", ("x", "y"), True),
        ("ForAllValues:StringNotEquals", ("a", "x"), False),
        ("StringEquals", ("a",), True),
        ("StringEquals", ("a", "x"), None),
    ],
)
def test_set_operators_look_at_every_value_of_the_request(
    operator: str, actual: tuple[str, ...], expected: bool | None
) -> None:
    condition = Condition(operator, "kms:EncryptionContextKeys", ("a", "b"))
    context = {"kms:encryptioncontextkeys": actual}
    assert evaluate_condition(condition, context).holds is expected


@pytest.mark.parametrize(
    ("operator", "value", "actual", "expected"),
    [
        ("StringEquals", "${aws:username}", "ann", True),
        ("StringEquals", "home/${aws:UserName}/x", "home/ann/x", True),
        ("StringEquals", "${aws:username}", "bob", False),
        ("StringEquals", "${aws:PrincipalTag/team}", "red", False),
        ("StringNotEquals", "${aws:PrincipalTag/team}", "red", None),
        ("StringEquals", "${aws:PrincipalTag/team, 'red'}", "red", True),
        ("StringLike", "${aws:username}*", "ann-1", True),
        ("StringLike", "a${*}b", "a*b", True),
        ("StringLike", "a${*}b", "axb", False),
        ("StringEquals", "a${?}${$}", "a?$", True),
        ("StringLike", "${aws:userid}", "A:*", True),
        ("StringLike", "${aws:userid}", "A:x", False),
        ("ArnLike", "arn:aws:iam::1:user/${aws:username}", "arn:aws:iam::1:user/ann", True),
    ],
)
def test_policy_variable_stands_for_a_value_of_the_request(
    operator: str, value: str, actual: str, expected: bool | None
) -> None:
    condition = Condition(operator, "aws:x", (value,), has_variables=True)
    context = {"aws:x": actual, "aws:username": "ann", "aws:userid": "A:*"}
    assert evaluate_condition(condition, context).holds is expected


def test_condition_with_a_problem_neither_holds_nor_fails() -> None:
    for condition in (Condition("StringMatches", KEY, (PCR0,)), Condition("StringEquals", KEY, (PCR0,), problem="x")):
        assert evaluate_condition(condition, {KEY.lower(): PCR0}).holds is None
