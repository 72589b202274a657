"""Evaluate conditions of key policies (pure).

Source: IAM user guide, "IAM JSON policy elements: Condition operators", "Multivalued context keys" and "IAM policy
elements: Variables and tags".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from nitro_attestation.key_policy.conditions.operators import (
    FOR_ALL,
    FOR_ANY,
    LITERAL_QUESTION_MARK,
    LITERAL_STAR,
    Comparison,
    Operator,
    parse_operator,
)

ContextValue: TypeAlias = tuple[str, ...]
"""A request's values of one condition key: one, or several for a multivalued key."""

_VARIABLE = re.compile(r"\$\{(?P<name>[^},']*?)\s*(,\s*'(?P<default>[^']*)'\s*)?\}")
_SPECIAL = {"*": LITERAL_STAR, "?": LITERAL_QUESTION_MARK, "$": "$"}


@dataclass(frozen=True)
class Condition:
    """One operator applied to one condition key.

    Attributes:
        operator: as in the policy, including a prefix such as ``ForAnyValue:`` and a suffix such as ``IfExists``.
        key: the condition key, as in the policy; its case does not matter.
        values: alternatives. With a negated operator, none of them may match.
        has_variables: whether ``${...}`` in the values refers to another key of the request.
        problem: why it cannot be evaluated, or None.
    """

    operator: str
    key: str
    values: tuple[str, ...]
    has_variables: bool = False
    problem: str | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        """The keys of the request that its values refer to, in lower case."""
        if not self.has_variables:
            return ()
        return tuple(dict.fromkeys(name.lower() for value in self.values for name in _variable_names(value)))

    def __str__(self) -> str:
        return f"{self.operator} {self.key} {' or '.join(self.values)}"


@dataclass(frozen=True)
class ConditionResult:
    """The result of evaluating one condition.

    Attributes:
        condition: what was evaluated.
        actual: the value in the request, or None if the request has no such key or its value is unknown.
        holds: whether the condition is true, or None if unknown.
        is_known: whether the request's value of the key is known.
    """

    condition: Condition
    actual: str | None
    holds: bool | None
    is_known: bool = True

    def __str__(self) -> str:
        got = "no such key in the request" if self.actual is None else self.actual
        got = got if self.is_known else "an unknown value"
        return f"{self.condition.operator} {self.condition.key}: expected {_wanted(self.condition)}, got {got}"


def evaluate_condition(condition: Condition, context: Mapping[str, str | tuple[str, ...]]) -> ConditionResult:
    """Evaluate one condition against a request.

    A key that is absent from the request makes a positive operator false, a negated one true, and one with ``IfExists``
    true. A condition that cannot be evaluated, such as one with an unknown operator, neither holds nor fails.

    Args:
        condition: what to evaluate.
        context: all condition keys of the request, in lower case, with their values.
    """
    actual = _values(context.get(condition.key.lower()))
    resolved = resolve_variables(condition, {name: _values(value) or () for name, value in context.items()})
    return ConditionResult(condition, ", ".join(actual) if actual else None, holds(resolved, actual))


def holds(condition: Condition, actual: ContextValue | None) -> bool | None:
    """Return whether a condition without variables holds, or None if it cannot be evaluated.

    Args:
        condition: what to evaluate.
        actual: the request's values of its key, or None if it has no such key. An empty tuple counts as no key.
    """
    parsed = parse_operator(condition.operator)
    if condition.problem is not None or parsed is None:
        return None
    if parsed.comparison is None:
        return any((wanted.lower() == "true") == (not actual) for wanted in condition.values)
    if not actual or (parsed.quantifier is not None and actual == ("",)):
        return _holds_without_key(parsed, parsed.comparison)
    if parsed.quantifier is None and len(actual) > 1:
        return None  # IAM requires a set operator here, and does not document what happens without one
    every_value = (holds_for_value(parsed.comparison, condition.values, value) for value in actual)
    return all(every_value) if parsed.quantifier == FOR_ALL else any(every_value)


def holds_for_value(comparison: Comparison, wanted_values: tuple[str, ...], actual: str) -> bool:
    """Return whether one value of the request matches one of the policy's or, with a negated comparison, none."""
    return any(comparison.matches(wanted, actual) for wanted in wanted_values) != comparison.is_negated


def resolve_variables(condition: Condition, context: Mapping[str, ContextValue]) -> Condition:
    """Return a condition with its variables replaced by the request's values.

    A value with a variable that is absent from the request matches nothing. IAM does not document what a negated
    operator does then, so such a condition cannot be evaluated.
    """
    if not condition.has_variables:
        return condition
    values = [_resolved(value, context) for value in condition.values]
    known = tuple(value for value in values if value is not None)
    parsed, problem = parse_operator(condition.operator), condition.problem
    is_negated = parsed is not None and parsed.comparison is not None and parsed.comparison.is_negated
    if len(known) < len(values) and is_negated:
        problem = problem or "the request has no value for its policy variable"
    return Condition(condition.operator, condition.key, known, has_variables=False, problem=problem)


def _holds_without_key(parsed: Operator, comparison: Comparison) -> bool:
    if parsed.if_exists or parsed.quantifier == FOR_ALL:
        return True
    return comparison.is_negated and parsed.quantifier != FOR_ANY


def _values(value: str | ContextValue | None) -> ContextValue | None:
    return (value,) if isinstance(value, str) else value


def _variable_names(text: str) -> Iterator[str]:
    return (match["name"] for match in _VARIABLE.finditer(text) if match["name"] not in _SPECIAL)


def _resolved(text: str, context: Mapping[str, ContextValue]) -> str | None:
    is_complete = True

    def value_of(match: re.Match[str]) -> str:
        nonlocal is_complete
        if match["name"] in _SPECIAL:
            return _SPECIAL[match["name"]]
        values = context.get(match["name"].lower()) or (() if match["default"] is None else (match["default"],))
        is_complete = is_complete and len(values) == 1
        return values[0].replace("*", LITERAL_STAR).replace("?", LITERAL_QUESTION_MARK) if values else ""

    text = _VARIABLE.sub(value_of, text)
    return text if is_complete else None


def _wanted(condition: Condition) -> str:
    values = " or ".join(condition.values)
    parsed = parse_operator(condition.operator)
    if parsed is None:
        return values
    if parsed.comparison is None:
        return {"true": "no such key", "false": "such a key"}.get(values.lower(), values)
    return f"anything but {values}" if parsed.comparison.is_negated else values
