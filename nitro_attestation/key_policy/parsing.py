"""Parse key policies (pure).

The parser keeps a malformed statement together with its problems, because the rest of the policy can still be
evaluated. KMS refuses such a policy as a whole; so does ``parse_policy``, unless ``keep_odd_statements`` is set.

Source: KMS developer guide, "Key policies in AWS KMS"; IAM user guide, "Grammar of the IAM JSON policy language".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

from nitro_attestation.errors import PolicyError
from nitro_attestation.key_policy.conditions.condition import Condition
from nitro_attestation.key_policy.conditions.operators import Family, is_readable, parse_operator
from nitro_attestation.key_policy.model import (
    EVERY_RESOURCE,
    MAX_POLICY_BYTES,
    POLICY_VERSIONS,
    Effect,
    KeyPolicy,
    Statement,
)
from nitro_attestation.key_policy.principals import (
    ANYONE,
    AWS,
    PRINCIPAL_TYPES,
    PrincipalKind,
    PrincipalName,
    parse_principal_name,
)
from nitro_attestation.quoting import quoted
from nitro_attestation.strict_json import decode_strict_json

JsonObject: TypeAlias = dict[str, Any]
T = TypeVar("T")

_POLICY_FIELDS = frozenset({"Version", "Id", "Statement"})
_ALTERNATIVES = (("Principal", "NotPrincipal"), ("Action", "NotAction"), ("Resource", "NotResource"))
_STATEMENT_FIELDS = frozenset({"Sid", "Effect", "Condition", *(name for pair in _ALTERNATIVES for name in pair)})
_ACTION = re.compile(r"\*|[a-zA-Z0-9-]+:[a-zA-Z0-9*?]+", re.ASCII)
_RESOURCE = re.compile(r"\*|arn:[^\s]+")
_CONDITION_KEY = re.compile(r"[A-Za-z0-9.-]+:.+")
_VARIABLE_FAMILIES = (Family.STRING, Family.ARN, Family.BOOLEAN)


def parse_policy(text: str, *, keep_odd_statements: bool = False) -> KeyPolicy:
    """Parse a key policy, or the output of ``aws kms get-key-policy``, which contains one.

    Does not check that the principals exist, as KMS does.

    Args:
        text: the JSON text; the policy may have at most MAX_POLICY_BYTES bytes.
        keep_odd_statements: keep malformed statements, and describe what is wrong in ``Statement.problems``.

    Raises:
        PolicyError: the text is not a policy; or, without ``keep_odd_statements``, KMS or IAM would refuse the policy.
    """
    policy = _unwrapped(text)
    unknown = sorted(policy.keys() - _POLICY_FIELDS)
    problems = [
        f"key policy: expected only {', '.join(sorted(_POLICY_FIELDS))}, got {quoted(name)}" for name in unknown
    ]
    version = policy.get("Version", POLICY_VERSIONS[1])
    if version not in POLICY_VERSIONS:
        problems.append(f"Version: expected {' or '.join(POLICY_VERSIONS)}, got {quoted(str(version))}")
    documents = policy.get("Statement")
    documents = documents if isinstance(documents, list) else [documents]
    if not documents or documents == [None]:
        raise PolicyError("key policy: has no Statement")
    has_variables = version != POLICY_VERSIONS[1]
    statements = tuple(_StatementReader(index, has_variables).read(each) for index, each in enumerate(documents))
    problems += _repeated_sids(statements)
    parsed = KeyPolicy(statements, tuple(problems))
    if not keep_odd_statements:
        _refuse_problems(parsed)
    return parsed


def _unwrapped(text: str) -> Mapping[str, Any]:
    """Return the policy in a text, which can be inside another object: get-key-policy prints it as a string member."""
    document = _decode(text, max_bytes=2 * MAX_POLICY_BYTES)  # inside a string, each quotation mark takes two bytes
    inner = document.get("Policy") if isinstance(document, dict) and "Statement" not in document else document
    if isinstance(inner, str):
        return _object("key policy", _decode(inner))
    return _object("key policy", _decode(text))


def _decode(text: str, *, max_bytes: int = MAX_POLICY_BYTES) -> object:
    if (size := len(text.encode("utf-8", "surrogatepass"))) > max_bytes:
        raise PolicyError(f"key policy: expected at most {MAX_POLICY_BYTES} bytes, got {size}")
    try:
        return decode_strict_json(text)
    except ValueError as error:
        raise PolicyError(f"key policy: not valid JSON ({error})") from None


def _repeated_sids(statements: tuple[Statement, ...]) -> Iterator[str]:
    seen: set[str] = set()
    for statement in statements:
        if statement.sid in seen:
            yield f"{statement.label}: another statement has the same Sid"
        seen |= {statement.sid} if statement.sid else set()


def _refuse_problems(policy: KeyPolicy) -> None:
    for problem in policy.problems:
        raise PolicyError(problem)
    for statement in policy.statements:
        for problem in statement.problems:
            raise PolicyError(f"{statement.label}: {problem}")


class _StatementReader:
    """Parses one statement and collects its problems."""

    def __init__(self, index: int, has_variables: bool) -> None:
        self._index = index
        self._has_variables = has_variables
        self._problems: list[str] = []

    def read(self, document: object) -> Statement:
        fields = self._checked(_object, "statement", document, _STATEMENT_FIELDS) or _only_known(document)
        for pair in _ALTERNATIVES:
            if sum(name in fields for name in pair) != 1:
                self._problems.append(f"needs either {pair[0]} or {pair[1]}")
        sid = self._checked(_sid, fields.get("Sid"))
        effect = self._checked(_effect, fields.get("Effect"))
        if "NotPrincipal" in fields and effect is Effect.ALLOW:
            self._problems.append("NotPrincipal: AWS allows it only with Effect Deny")
        return Statement(
            index=self._index,
            sid=sid,
            effect=effect,
            principals=tuple(self._principals(fields)),
            is_not_principal="NotPrincipal" in fields,
            actions=self._patterns(fields, "Action", _ACTION),
            is_not_action="NotAction" in fields,
            resources=self._patterns(fields, "Resource", _RESOURCE) or (EVERY_RESOURCE,),
            is_not_resource="NotResource" in fields,
            conditions=tuple(self._conditions(fields.get("Condition", {}))),
            problems=tuple(self._problems),
        )

    def _checked(self, read: Callable[..., T], *arguments: object) -> T | None:
        try:
            return read(*arguments)
        except PolicyError as error:
            self._problems.append(f"{error} ({error.hint})" if error.hint else str(error))
            return None

    def _principals(self, fields: Mapping[str, Any]) -> Iterator[PrincipalName]:
        what = "NotPrincipal" if "NotPrincipal" in fields else "Principal"
        if what not in fields:
            return
        if fields[what] == ANYONE:
            yield PrincipalName(ANYONE, PrincipalKind.ANYONE)
            return
        by_type = self._checked(_object, what, fields[what], frozenset(PRINCIPAL_TYPES))
        if by_type is not None and not by_type:
            self._problems.append(f"{what}: names no principal")
        for principal_type in sorted(by_type or {}, key=lambda name: name != AWS):
            names = (by_type or {})[principal_type]
            for text in self._checked(_texts, f"{what} {principal_type}", names) or ():
                name = self._checked(parse_principal_name, principal_type, text)
                yield name or PrincipalName(text, PrincipalKind.NOBODY)

    def _patterns(self, fields: Mapping[str, Any], name: str, form: re.Pattern[str]) -> tuple[str, ...]:
        name = name if name in fields else f"Not{name}"
        texts = (self._checked(_texts, name, fields[name]) if name in fields else None) or ()
        for text in texts:
            if form.fullmatch(text) is None:
                self._problems.append(f"{name}: malformed: {quoted(text, 128)}")
        return texts

    def _conditions(self, value: object) -> Iterator[Condition]:
        for operator, keys in (self._checked(_object, "Condition", value) or {}).items():
            for key, values in (self._checked(_object, operator, keys) or {}).items():
                texts = self._checked(_condition_values, f"{operator} {key}", values)
                if texts is not None:
                    yield self._condition(operator, key, texts)

    def _condition(self, operator: str, key: str, texts: tuple[str, ...]) -> Condition:
        condition = Condition(operator, key, texts)
        parsed = parse_operator(condition.operator)
        if parsed is None:
            problem: str | None = f"Condition: IAM has no operator {quoted(operator)}"
        elif not _CONDITION_KEY.fullmatch(key):
            problem = f"{operator}: expected a condition key such as kms:CallerAccount, got {quoted(key)}"
        else:
            family = Family.BOOLEAN if parsed.comparison is None else parsed.comparison.family
            may_vary = self._has_variables and parsed.comparison is not None and family in _VARIABLE_FAMILIES
            condition = Condition(operator, key, texts, has_variables=may_vary and any("${" in text for text in texts))
            problem = _value_problem(condition, family)
        if problem is None:
            return condition
        self._problems.append(problem)
        return Condition(operator, key, texts, problem=problem)


def _value_problem(condition: Condition, family: Family) -> str | None:
    for text in condition.values:
        if not (is_readable(family, text) or (condition.has_variables and "${" in text)):
            return f"{condition.operator} {condition.key}: expected {family.value}, got {quoted(text)}"
    return None


def _only_known(document: object) -> Mapping[str, Any]:
    """Return the known elements of a statement that has unknown ones, or is not an object."""
    fields = document if isinstance(document, dict) else {}
    return {name: value for name, value in fields.items() if name in _STATEMENT_FIELDS}


def _sid(value: object) -> str | None:
    if not (value is None or isinstance(value, str)):
        raise PolicyError(f"Sid: expected a string, got {type(value).__name__}")
    return value


def _effect(value: object) -> Effect:
    if not (isinstance(value, str) and value in tuple(Effect)):
        raise PolicyError(f"Effect: expected Allow or Deny, got {quoted(str(value))}")
    return Effect(value)


def _texts(what: str, value: object) -> tuple[str, ...]:
    """Read a string or a list of non-empty strings; JSON's true, false and integers count as their text."""
    texts = _condition_values(what, value)
    if "" in texts or isinstance(value, float):
        raise PolicyError(f"{what}: expected a string or a list of strings, got {type(value).__name__}")
    return texts


def _condition_values(what: str, value: object) -> tuple[str, ...]:
    """Read a string or a list of strings; JSON's true, false and numbers count as their text, as they do for AWS."""
    items = value if isinstance(value, list) else [value]
    if not items:
        raise PolicyError(f"{what}: the list is empty")
    for item in items:
        if not isinstance(item, str | bool | int | float):
            raise PolicyError(f"{what}: expected a string or a list of strings, got {type(item).__name__}")
    return tuple(item if isinstance(item, str) else str(item).lower() for item in items)


def _object(what: str, value: object, fields: frozenset[str] | None = None) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(f"{what}: expected an object, got {type(value).__name__}")
    for name in value.keys() - (value.keys() if fields is None else fields):
        raise PolicyError(f"{what}: expected only {', '.join(sorted(fields or ()))}, got {quoted(name)}")
    return value
