from __future__ import annotations

import random

import pytest

from nitro_attestation.key_policy.conditions.operators import wildcard_match
from nitro_attestation.key_policy.symbolic.patterns import (
    PatternList,
    TooComplexError,
    arn_tokens,
    count_texts,
    digest_tokens,
    exact_tokens,
    find_text,
    wildcard_tokens,
)

DIGITS = "0123456789abcdef"


def _like(*patterns: str, is_wanted: bool = True, ignore_case: bool = False) -> PatternList:
    return PatternList([wildcard_tokens(each, ignore_case=ignore_case) for each in patterns], is_wanted=is_wanted)


@pytest.mark.parametrize(
    ("lists", "is_there_one"),
    [
        ([_like("a*"), _like("*b")], True),
        ([_like("a*"), _like("b*")], False),
        ([_like("a*"), _like("*", is_wanted=False)], False),
        ([_like("a?c"), _like("abc", "axc", is_wanted=False)], True),
        ([_like("*a*"), _like("*a*", is_wanted=False)], False),
        ([_like("??"), _like("???")], False),
        ([_like("AB", ignore_case=True), _like("ab", is_wanted=False)], True),
        ([_like("AB", ignore_case=True), _like("ab", ignore_case=True, is_wanted=False)], False),
        ([], True),
    ],
)
def test_text_is_found_if_there_is_one(lists: list[PatternList], is_there_one: bool) -> None:
    assert (find_text(lists) is not None) is is_there_one


def test_excluded_text_is_not_found() -> None:
    assert find_text([_like("a")], excluded=frozenset({"a"})) is None
    assert find_text([_like("a?")], excluded=frozenset({"ax", "ay"})) not in (None, "ax", "ay")


def test_wildcards_of_an_arn_stay_in_their_part() -> None:
    inner = PatternList([arn_tokens("arn:aws:kms:*:*:key/*")], is_wanted=True)
    assert find_text([inner, PatternList([exact_tokens("arn:aws:kms:a:b:key/c")], is_wanted=True)]) is not None
    assert find_text([inner, PatternList([exact_tokens("arn:aws:kms:a:b:c:key/d")], is_wanted=True)]) is None


@pytest.mark.parametrize(
    ("patterns", "number"),
    [
        (["a1a1*"], 16**92),
        (["?" * 96], 16**96),
        (["a1*", "a1a1*"], 16**94),
        (["a*", "b*"], 2 * 16**95),
        (["*a"], 16**95),
        (["g*"], 0),
        (["a" * 95 + "?"], 16),
    ],
)
def test_digests_that_match_are_counted(patterns: list[str], number: int) -> None:
    digests = PatternList([digest_tokens(96, DIGITS)], is_wanted=True)
    assert count_texts([digests, _like(*patterns)], 96, DIGITS) == number
    assert count_texts([digests, _like(*patterns, is_wanted=False)], 96, DIGITS) == 16**96 - number


def test_search_stops_at_its_limit() -> None:
    hostile = _like("*" + "a?" * 30 + "*" + "b?" * 30 + "*")
    with pytest.raises(TooComplexError):
        count_texts([hostile, _like("*a" + "?" * 60)], 96, "ab")


def test_what_is_found_matches_as_the_matcher_of_policies_says() -> None:
    source = random.Random(7)  # noqa: S311 - to repeat what it makes is the point
    for _ in range(500):
        wanted, unwanted = ["".join(source.choices("ab*?", k=source.randint(1, 5))) for _ in range(2)]
        text = find_text([_like(wanted), _like(unwanted, is_wanted=False)])
        if text is not None:
            assert wildcard_match(wanted, text)
            assert not wildcard_match(unwanted, text)
            continue
        texts = ["".join(source.choices("abx", k=source.randint(0, 7))) for _ in range(200)]
        assert not [each for each in texts if wildcard_match(wanted, each) and not wildcard_match(unwanted, each)]
