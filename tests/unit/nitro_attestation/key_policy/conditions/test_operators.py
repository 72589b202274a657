from __future__ import annotations

import pytest

from nitro_attestation.key_policy.conditions.operators import (
    COMPARISONS,
    FOR_ALL,
    FOR_ANY,
    Family,
    is_readable,
    parse_operator,
    read_date,
    read_number,
)

ARN = "arn:aws:iam::111122223333:role/path/Name"


@pytest.mark.parametrize(
    ("operator", "wanted", "actual", "matches"),
    [
        ("NumericEquals", "10", "10.0", True),
        ("NumericEquals", "1e1", "10", True),
        ("NumericLessThan", "10", "9.5", True),
        ("NumericLessThan", "10", "10", False),
        ("NumericLessThanEquals", "10", "10", True),
        ("NumericGreaterThan", "10", "9", False),
        ("NumericGreaterThanEquals", "-1", "-1", True),
        ("NumericEquals", "10", "ten", False),
        ("DateEquals", "2026-01-31T00:00:00Z", "1769817600", True),
        ("DateEquals", "2026-01-31T01:00:00+01:00", "2026-01-31", True),
        ("DateLessThan", "2026-01-31T00:00:00Z", "2026-01-30T23:59:59.999Z", True),
        ("DateGreaterThan", "2026", "2025-12-31T23:59:59Z", False),
        ("DateGreaterThanEquals", "2026-02", "2026-02-01T00:00Z", True),
        ("DateLessThan", "2026-01-31T00:00:00Z", "soon", False),
        ("IpAddress", "203.0.113.0/24", "203.0.113.255", True),
        ("IpAddress", "203.0.113.0/24", "203.0.114.0", False),
        ("IpAddress", "203.0.113.7", "203.0.113.7", True),
        ("IpAddress", "0.0.0.0/0", "198.51.100.1", True),
        ("IpAddress", "0.0.0.0/0", "2001:db8::1", False),
        ("IpAddress", "2001:db8::/32", "2001:DB8::1", True),
        ("IpAddress", "10.0.0.0/8", "no address", False),
        ("ArnEquals", "arn:aws:iam::*:role/*", ARN, True),
        ("ArnLike", "arn:aws:iam::111122223333:role/path/N?me", ARN, True),
        ("ArnLike", "arn:*:role/*", ARN, False),
        ("ArnEquals", "arn:aws:iam::111122223333:ROLE/*", ARN, False),
        ("ArnLike", "arn:aws:sns:*:111122223333:a", "arn:aws:sns:eu:999:x:111122223333:a", False),
        ("BinaryEquals", "YWI=", "YWI=", True),
        ("BinaryEquals", "YWI=", "YWM=", False),
        ("BinaryEquals", "YWI=", "not base64", False),
        ("Bool", "TRUE", "true", True),
    ],
)
def test_comparison_of_a_value_of_the_policy_with_one_of_the_request(
    operator: str, wanted: str, actual: str, matches: bool
) -> None:
    assert COMPARISONS[operator].matches(wanted, actual) is matches


def test_every_operator_of_iams_is_there() -> None:
    orders = ["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"]
    strings = ["Equals", "NotEquals", "EqualsIgnoreCase", "NotEqualsIgnoreCase", "Like", "NotLike"]
    arns = ["Equals", "NotEquals", "Like", "NotLike"]
    names = [f"{kind}{order}" for kind in ("Numeric", "Date") for order in orders]
    names += [f"String{name}" for name in strings] + [f"Arn{name}" for name in arns]
    assert sorted(COMPARISONS) == sorted([*names, "Bool", "BinaryEquals", "IpAddress", "NotIpAddress"])


@pytest.mark.parametrize(
    ("text", "quantifier", "if_exists"),
    [
        ("StringEquals", None, False),
        ("ArnLikeIfExists", None, True),
        ("ForAnyValue:StringNotLike", FOR_ANY, False),
        ("ForAllValues:NumericLessThanIfExists", FOR_ALL, True),
    ],
)
def test_operator_is_taken_apart(text: str, quantifier: str | None, if_exists: bool) -> None:
    parsed = parse_operator(text)
    assert parsed is not None
    assert parsed.comparison is not None
    assert (parsed.quantifier, parsed.if_exists) == (quantifier, if_exists)


@pytest.mark.parametrize(
    "text", ["", "StringEqual", "stringEquals", "NullIfExists", "ForAnyValue:Null", "ForSome:StringEquals", "IfExists"]
)
def test_operator_that_iam_does_not_have_is_none(text: str) -> None:
    assert parse_operator(text) is None


@pytest.mark.parametrize(
    ("family", "good", "bad"),
    [
        (Family.NUMERIC, ["0", "-1.5", ".5", "2e3"], ["", "1,5", "0x10", "NaN", "Infinity", "1e9999"]),
        (Family.DATE, ["2026", "2026-12", "2026-12-31", "1769817600", "2026-12-31T23:59Z"], ["2026-13", "31.12.2026"]),
        (Family.IP_ADDRESS, ["10.0.0.1/8", "::1"], ["10.0.0", "10.0.0.0/33", "10.0.0.*"]),
        (Family.ARN, [ARN, "arn:*:*:*:*:*"], ["*", "arn:aws:iam::1", "role/x"]),
        (Family.BOOLEAN, ["true", "False"], ["yes", "1"]),
        (Family.BINARY, ["YWI=", ""], ["a", "YW I="]),
    ],
)
def test_value_of_a_policy_is_told_from_one_that_the_operator_cannot_compare(
    family: Family, good: list[str], bad: list[str]
) -> None:
    assert [value for value in good if not is_readable(family, value)] == []
    assert [value for value in bad if is_readable(family, value)] == []


def test_numbers_and_dates_are_exact() -> None:
    assert read_number("0.1") != read_number("0.10000000000000001")
    assert read_date("2026-01-31T00:00:00.1Z") != read_date("2026-01-31T00:00:00Z")
