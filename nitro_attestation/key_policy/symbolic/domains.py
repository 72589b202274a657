"""The values that a condition key can have in a request, and whether one of them meets given conditions (pure).

``find_value`` handles one key at a time, because conditions on different keys are independent.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from nitro_attestation.key_policy.conditions.condition import Condition, ContextValue, holds, holds_for_value
from nitro_attestation.key_policy.conditions.operators import (
    FOR_ALL,
    Comparison,
    Family,
    parse_operator,
    read_date,
    read_number,
)
from nitro_attestation.key_policy.symbolic.candidates import (
    DIGEST_DIGITS,
    HEX_DIGITS,
    candidate_digests,
    candidate_values,
)
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

DIGEST_BITS = 4 * DIGEST_DIGITS
Value: TypeAlias = ContextValue | None
"""None stands for a request without the key."""


@dataclass(frozen=True)
class Domain:
    """The values that a condition key can have in a request.

    Attributes:
        choices: all of them, or None if they are too many to list.
        may_be_absent: whether a request can lack the key; for a domain without choices.
        pattern: a wildcard pattern that every value matches, or None. An ARN pattern is matched part by part.
        is_digest: whether every value is a SHA-384 digest in lower-case hexadecimal.
        excluded: values that it cannot have.
        is_multivalued: whether a request can have several values at once.
        required: values that every request with the key has.
        earliest: for a time, the earliest one, in seconds since 1970.
        family: the type of every value, or None if unknown.
    """

    choices: tuple[Value, ...] | None = None
    may_be_absent: bool = True
    pattern: str | None = None
    is_digest: bool = False
    excluded: frozenset[str] = frozenset()
    is_multivalued: bool = False
    required: tuple[str, ...] = ()
    earliest: int | None = None
    family: Family | None = None

    @property
    def only_value(self) -> Value:
        """The only value of a known domain."""
        return (self.choices or (None,))[0]

    @property
    def is_known(self) -> bool:
        """Whether there is exactly one value."""
        return self.choices is not None and len(self.choices) == 1


_DIGESTS = PatternList([digest_tokens(DIGEST_DIGITS, HEX_DIGITS)], is_wanted=True)
_ANY_VALUES = {Family.NUMERIC: "0", Family.DATE: "2026-01-01T00:00:00Z", Family.IP_ADDRESS: "198.51.100.1"}
_IS_NUMBER = {Family.NUMERIC: True, Family.DATE: False, Family.IP_ADDRESS: False}
"""Whether values of a type are numbers. Dates in seconds since 1970 (aws:EpochTime) are; aws:CurrentTime is not."""
_SOME_TEXT = PatternList([wildcard_tokens("?*")], is_wanted=True)

ABSENT = Domain(choices=(None,))
ANYTHING = Domain()


def known(*values: str) -> Domain:
    """Return the domain of a key that has exactly these values."""
    return Domain(choices=(values,))


@dataclass(frozen=True)
class Literal:
    """A condition that must hold, or must not hold."""

    condition: Condition
    is_wanted: bool = True

    @property
    def negated(self) -> Literal:
        """The opposite."""
        return Literal(self.condition, not self.is_wanted)


@dataclass(frozen=True)
class Found:
    """A value of a key; None inside it means that the key is absent."""

    value: Value


@dataclass(frozen=True)
class _Test:
    """A test for one value of a key: a comparison with the policy's values, or its opposite."""

    comparison: Comparison
    values: tuple[str, ...]
    is_wanted: bool

    def is_passed_by(self, value: str) -> bool:
        return holds_for_value(self.comparison, self.values, value) == self.is_wanted


@functools.lru_cache(maxsize=20_000)
def find_value(domain: Domain, literals: frozenset[Literal]) -> Found | None:
    """Return a value that meets every literal, or None if the domain has none.

    Raises:
        TooComplexError: the search reached its limit.
    """
    if domain.choices is not None:
        return next((Found(value) for value in domain.choices if _suits(value, literals)), None)
    if domain.may_be_absent and _suits(None, literals):
        return Found(None)
    every, some = _split(literals)
    if every is None:
        return None
    if domain.is_multivalued:
        return _find_values(domain, every, some)
    value = _find_one(domain, [*every, *some])
    return None if value is None else Found((value,))


@functools.lru_cache(maxsize=1_000)
def open_bits(literals: frozenset[Literal]) -> float:
    """Return the binary logarithm of the number of digests that meet every literal.

    Args:
        literals: about one key.

    Raises:
        TooComplexError: counting would need too many states.
    """
    every, some = _split(literals)
    tests = [test for test in [*(every or ()), *some] if test.comparison.family is Family.STRING]
    tests = [test for test in tests if not _leaves_out_single_texts(test)]
    try:
        number = _count_digests(tests, is_reversed=False)
    except TooComplexError:  # a leading wildcard causes many states from the left, and few from the right
        number = _count_digests(tests, is_reversed=True)
    return math.log2(number) if number else 0.0


def _count_digests(tests: Iterable[_Test], *, is_reversed: bool) -> int:
    lists = [_DIGESTS, *(_pattern_list(test, is_reversed=is_reversed) for test in tests)]
    return count_texts(lists, DIGEST_DIGITS, HEX_DIGITS)


def _suits(value: Value, literals: Iterable[Literal]) -> bool:
    return all(holds(literal.condition, value) is literal.is_wanted for literal in literals)


def _split(literals: frozenset[Literal]) -> tuple[list[_Test] | None, list[_Test]]:
    """Return the tests for every value, or None if any present key fails; and the tests for at least one value."""
    every: list[_Test] = []
    some: list[_Test] = []
    for literal in literals:
        parsed = parse_operator(literal.condition.operator)
        if parsed is None or literal.condition.problem is not None:
            return None, []
        if parsed.comparison is None:
            if holds(literal.condition, ("present",)) is not literal.is_wanted:
                return None, []
            continue
        test = _Test(parsed.comparison, literal.condition.values, literal.is_wanted)
        is_for_all = parsed.quantifier == FOR_ALL
        (every if is_for_all == literal.is_wanted else some).append(test)
    return every, some


def _find_values(domain: Domain, every: list[_Test], some: list[_Test]) -> Found | None:
    """Return values that all pass ``every``, with at least one value that passes each test of ``some``."""
    found = list(domain.required)
    if not all(test.is_passed_by(value) for value in found for test in every):
        return None
    for test in some:
        if any(map(test.is_passed_by, found)):
            continue
        value = _find_one(domain, [*every, test])
        if value is None:
            return None
        found.append(value)
    if not found:
        value = _find_one(domain, every)
        return None if value is None else Found((value,))
    return Found(tuple(found))


def _find_one(domain: Domain, tests: list[_Test]) -> str | None:
    is_text = all(test.comparison.family in (Family.STRING, Family.ARN) for test in tests)
    if domain.is_digest and not is_text:
        raise TooComplexError  # KMS presents digests as strings; AWS does not document how other operators treat them
    shapes = list(_shapes(domain))
    compared = [(test.comparison.family, test.values) for test in tests]
    if domain.earliest is not None:
        compared += [(family, (str(domain.earliest),)) for family in (Family.DATE, Family.NUMERIC)]
    elif domain.family in _ANY_VALUES:
        compared.append((domain.family, (_ANY_VALUES[domain.family],)))
    for value in candidate_digests(compared) if domain.is_digest else candidate_values(compared):
        if _is_possible(domain, shapes, value) and all(test.is_passed_by(value) for test in tests):
            return value
    if not is_text:
        return None
    return find_text([*shapes, _SOME_TEXT, *map(_pattern_list, tests)], excluded=domain.excluded)


def _is_possible(domain: Domain, shapes: Iterable[PatternList], value: str) -> bool:
    if domain.earliest is not None:
        seconds = read_date(value) or read_number(value)
        if seconds is None or seconds < domain.earliest:
            return False
    is_number = read_number(value) is not None
    if domain.family in _IS_NUMBER and is_number is not _IS_NUMBER[domain.family]:
        return False
    return value not in domain.excluded and all(_matches(shape, value) for shape in shapes)


def _leaves_out_single_texts(test: _Test) -> bool:
    """Return whether a test refuses only single texts, which are too few to matter among all digests."""
    has_wildcards = test.comparison.name.endswith("Like") and any(set("*?") & set(value) for value in test.values)
    return not has_wildcards and test.is_wanted == test.comparison.is_negated


def _matches(shape: PatternList, text: str) -> bool:
    places = shape.start
    for character in text:
        places = shape.step(places, character)
    return shape.is_met(places)


def _shapes(domain: Domain) -> Iterator[PatternList]:
    if domain.is_digest:
        yield _DIGESTS
    if domain.pattern is not None:
        tokens = arn_tokens if domain.pattern.startswith("arn:") else wildcard_tokens
        yield PatternList([tokens(domain.pattern)], is_wanted=True)


def _pattern_list(test: _Test, *, is_reversed: bool = False) -> PatternList:
    name = test.comparison.name
    if test.comparison.family is Family.ARN:
        patterns = [arn_tokens(value) for value in test.values]
    elif name.endswith("Like"):
        patterns = [wildcard_tokens(value) for value in test.values]
    else:
        patterns = [exact_tokens(value, ignore_case="IgnoreCase" in name) for value in test.values]
    patterns = [pattern[::-1] for pattern in patterns] if is_reversed else patterns
    return PatternList(patterns, is_wanted=test.is_wanted != test.comparison.is_negated)
