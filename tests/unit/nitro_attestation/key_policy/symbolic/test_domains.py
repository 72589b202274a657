from __future__ import annotations

import pytest

from nitro_attestation.key_policy.conditions.condition import Condition, holds
from nitro_attestation.key_policy.conditions.operators import Family
from nitro_attestation.key_policy.symbolic.domains import (
    ABSENT,
    ANYTHING,
    Domain,
    Literal,
    find_value,
    known,
    open_bits,
)
from nitro_attestation.key_policy.symbolic.patterns import TooComplexError

DIGEST = "a1" * 48
DIGESTS = Domain(may_be_absent=False, is_digest=True, excluded=frozenset({DIGEST}))
PRESENT = Domain(may_be_absent=False)
NAMES = Domain(is_multivalued=True)


def _literals(*conditions: tuple[str, list[str], bool]) -> frozenset[Literal]:
    return frozenset(Literal(Condition(name, "aws:x", tuple(values)), wanted) for name, values, wanted in conditions)


@pytest.mark.parametrize(
    ("domain", "conditions", "is_there_one"),
    [
        (known("a"), [("StringEquals", ["a"], True)], True),
        (known("a"), [("StringEquals", ["a"], False)], False),
        (ABSENT, [("StringEquals", ["a"], False)], True),
        (ABSENT, [("Null", ["true"], True)], True),
        (ANYTHING, [("Null", ["true"], True), ("StringEquals", ["a"], True)], False),
        (ANYTHING, [("StringLike", ["a*"], True), ("StringNotLike", ["*b"], True), ("Null", ["false"], True)], True),
        (ANYTHING, [("StringEquals", ["a"], True), ("StringEqualsIgnoreCase", ["A"], False)], False),
        (PRESENT, [("NumericLessThan", ["5"], True), ("NumericGreaterThan", ["4"], True)], True),
        (PRESENT, [("NumericLessThan", ["4"], True), ("NumericGreaterThan", ["5"], True)], False),
        (PRESENT, [("DateLessThan", ["2026-01-01"], True), ("DateGreaterThanEquals", ["2025-12-31T23:59:59Z"], True)],
         True),
        (PRESENT, [("IpAddress", ["10.0.0.0/8"], True), ("IpAddress", ["10.0.0.0/9", "10.128.0.0/9"], False)], False),
        (PRESENT, [("IpAddress", ["10.0.0.0/8"], True), ("NotIpAddress", ["10.0.0.0/9"], True)], True),
        (PRESENT, [("Bool", ["true"], False), ("Bool", ["false"], False)], False),
        (PRESENT, [("BinaryEquals", ["YWI="], True)], True),
        (Domain(may_be_absent=False, pattern="arn:aws*:iam::111122223333:role/?*"),
         [("ArnLike", ["arn:aws:iam::*:user/*"], True)], False),
        (Domain(may_be_absent=False, pattern="arn:aws*:iam::111122223333:role/?*"),
         [("ArnLike", ["arn:aws:iam::1*:role/Admin*"], True), ("StringLike", ["*Admin"], False)], True),
        (Domain(may_be_absent=False, earliest=1_767_225_600), [("DateLessThan", ["2026-01-01"], True)], False),
        (Domain(may_be_absent=False, earliest=1_767_225_600), [("NumericLessThan", ["1767225601"], True)], True),
        (DIGESTS, [("StringEquals", [DIGEST], True)], False),
        (DIGESTS, [("StringLike", [f"{DIGEST[:95]}?"], True)], True),
        (DIGESTS, [("StringLike", ["g*"], True)], False),
        (DIGESTS, [("StringEquals", [DIGEST.upper()], False)], True),
        (NAMES, [("ForAllValues:StringEquals", ["a"], True), ("ForAnyValue:StringEquals", ["b"], True)], False),
        (NAMES, [("ForAnyValue:StringEquals", ["a"], True), ("ForAnyValue:StringEquals", ["b"], True)], True),
        (NAMES, [("ForAllValues:StringEquals", ["a"], False)], True),
        (Domain(may_be_absent=False, is_multivalued=True, required=("a",)),
         [("ForAllValues:StringEquals", ["b"], True)], False),
    ],
)  # fmt: skip
def test_value_is_found_if_there_is_one(
    domain: Domain, conditions: list[tuple[str, list[str], bool]], is_there_one: bool
) -> None:
    literals = _literals(*conditions)
    found = find_value(domain, literals)
    assert (found is not None) is is_there_one
    if found is not None:
        assert all(holds(literal.condition, found.value) is literal.is_wanted for literal in literals)


def test_other_operators_on_digests_are_not_judged() -> None:
    with pytest.raises(TooComplexError):
        find_value(DIGESTS, _literals(("NumericLessThan", ["5"], True)))


@pytest.mark.parametrize(
    ("conditions", "bits"),
    [
        ([("StringLike", ["a1a1*"], True)], 368),
        ([("StringNotLike", ["a1a1*"], False)], 368),
        ([("StringLike", ["*a1a1", "a1a1*"], True)], 369),
        ([("StringLike", ["*" + "a1" * 16 + "?" * 32], True)], 256),
        ([("StringLike", ["?" * 96], True)], 384),
        ([("StringNotEquals", [DIGEST], True)], 384),
        ([("StringEquals", [DIGEST], True)], 0),
    ],
)
def test_bits_that_a_pattern_leaves_open(conditions: list[tuple[str, list[str], bool]], bits: int) -> None:
    assert round(open_bits(_literals(*conditions)), 3) == bits


@pytest.mark.parametrize(
    ("family", "conditions", "is_there_one"),
    [
        (Family.NUMERIC, [("DateLessThan", ["2026-01-01"], True), ("NumericLessThan", ["1767225600"], True)], True),
        (Family.NUMERIC, [("DateLessThan", ["2026-01-01"], True), ("NumericLessThan", ["1767225600"], False)], False),
        (Family.NUMERIC, [("NumericLessThan", ["5"], False), ("NumericGreaterThanEquals", ["5"], False)], False),
        (Family.DATE, [("DateLessThan", ["2026-01-01"], False), ("DateGreaterThan", ["2025-01-01"], False)], False),
        (Family.IP_ADDRESS, [("IpAddress", ["0.0.0.0/0"], False), ("IpAddress", ["::/0"], False)], False),
    ],
)
def test_key_of_one_kind_has_no_values_of_another(
    family: Family, conditions: list[tuple[str, list[str], bool]], is_there_one: bool
) -> None:
    domain = Domain(may_be_absent=False, family=family)
    assert (find_value(domain, _literals(*conditions)) is not None) is is_there_one
    assert find_value(domain, frozenset()) is not None
