"""Condition operators of IAM policies (pure).

Source: IAM user guide, "IAM JSON policy elements: Condition operators" and "How multiple conditions are evaluated".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

IF_EXISTS = "IfExists"
NULL = "Null"
BOOL = "Bool"


@dataclass(frozen=True)
class Condition:
    """One operator applied to one condition key.

    Attributes:
        operator: as in the policy, with its ``IfExists`` if it has one.
        key: the condition key, as written in the policy; its case does not matter.
        values: alternatives; of a negated operator none may match.
    """

    operator: str
    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class ConditionResult:
    """How one condition came out.

    Attributes:
        condition: what was evaluated.
        actual: the value in the request, or None where the request has no such key.
        holds: whether the condition is true.
    """

    condition: Condition
    actual: str | None
    holds: bool

    def __str__(self) -> str:
        got = "no such key in the request" if self.actual is None else self.actual
        return f"{self.condition.operator} {self.condition.key}: expected {_wanted(self.condition)}, got {got}"


@dataclass(frozen=True)
class _Operator:
    matches: Callable[[str, str], bool]
    is_negated: bool = False


def wildcard_match(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Return whether ``text`` matches ``pattern``, in which * stands for any characters and ? for one."""
    first, *rest = (re.escape(piece).replace(r"\?", ".") for piece in pattern.split("*"))
    # the earliest place of a piece is always good enough: atomic groups keep hostile patterns from taking for ever
    middle = "".join(f"(?>.*?{piece})" for piece in rest[:-1])
    regex = first + middle + (f".*{rest[-1]}" if rest else "")
    return re.fullmatch(regex, text, re.DOTALL | (re.IGNORECASE if ignore_case else re.NOFLAG)) is not None


def _wanted(condition: Condition) -> str:
    values = " or ".join(condition.values)
    if condition.operator == NULL:
        return {"true": "no such key", "false": "such a key"}.get(values.lower(), values)
    is_negated = _OPERATORS[condition.operator.removesuffix(IF_EXISTS)].is_negated
    return f"anything but {values}" if is_negated else values


def _equals(wanted: str, actual: str) -> bool:
    return wanted == actual


def _equals_ignore_case(wanted: str, actual: str) -> bool:
    return wanted.lower() == actual.lower()


_OPERATORS = {
    "StringEquals": _Operator(_equals),
    "StringNotEquals": _Operator(_equals, is_negated=True),
    "StringEqualsIgnoreCase": _Operator(_equals_ignore_case),
    "StringNotEqualsIgnoreCase": _Operator(_equals_ignore_case, is_negated=True),
    "StringLike": _Operator(wildcard_match),
    "StringNotLike": _Operator(wildcard_match, is_negated=True),
    BOOL: _Operator(_equals_ignore_case),
}
KNOWN_OPERATORS = frozenset(_OPERATORS) | {name + IF_EXISTS for name in _OPERATORS} | {NULL}
"""AWS has more (Arn..., Date..., Numeric..., ForAllValues: ...); a policy with one of those is refused."""
BOOLEAN_OPERATORS = frozenset({NULL, BOOL, BOOL + IF_EXISTS})
"""Those whose values can only be true or false."""


def evaluate_condition(condition: Condition, context: Mapping[str, str]) -> ConditionResult:
    """Evaluate one condition.

    A key that the request does not have makes a positive operator false, a negated one true, and one with ``IfExists``
    true.

    Args:
        condition: its operator is one of KNOWN_OPERATORS.
        context: what the request says, condition keys in lower case.
    """
    actual = context.get(condition.key.lower())
    return ConditionResult(condition, actual, _holds(condition, actual))


def _holds(condition: Condition, actual: str | None) -> bool:
    if condition.operator == NULL:
        return any((wanted.lower() == "true") == (actual is None) for wanted in condition.values)
    operator = _OPERATORS[condition.operator.removesuffix(IF_EXISTS)]
    if actual is None:
        return operator.is_negated or condition.operator.endswith(IF_EXISTS)
    return any(operator.matches(wanted, actual) for wanted in condition.values) != operator.is_negated
