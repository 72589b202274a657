"""The cases in which a statement applies to a partly unknown request, as literals (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nitro_attestation.key_policy.conditions.condition import Condition, resolve_variables
from nitro_attestation.key_policy.conditions.keys import PRINCIPAL_ARN_KEY
from nitro_attestation.key_policy.conditions.operators import parse_operator
from nitro_attestation.key_policy.model import EVERY_RESOURCE, Statement
from nitro_attestation.key_policy.principals import PrincipalKind, PrincipalName
from nitro_attestation.key_policy.symbolic.domains import Literal
from nitro_attestation.key_policy.symbolic.requests import (
    PSEUDO,
    RESOURCE,
    Requester,
    RequesterKind,
    RequestModel,
    canonical_key,
)

_IDENTITIES = {
    PrincipalKind.ROLE: RequesterKind.ROLE,
    PrincipalKind.USER: RequesterKind.USER,
    PrincipalKind.FEDERATED_USER: RequesterKind.FEDERATED_USER,
}


@dataclass(frozen=True)
class Case:
    """One case in which a statement applies: all of the case's literals are met.

    Attributes:
        statement: the statement.
        literals: the literals that must be met.
        is_direct: whether the statement then names the requester, and not only the requester's account.
    """

    statement: Statement
    literals: tuple[Literal, ...]
    is_direct: bool = True


def open_literal(what: str) -> Literal:
    """Return a literal for an unknown fact that is not about a condition key, given a short description."""
    return Literal(Condition("Bool", PSEUDO + what, ("true",)))


def cases(statement: Statement, request: RequestModel) -> tuple[Case, ...]:
    """Return the cases in which a statement applies to a request; none if it cannot apply."""
    if not statement.is_about_action(request.action):
        return ()
    common = tuple(_common_literals(statement, request))
    principals = _not_principal_cases if statement.is_not_principal else _principal_cases
    return tuple(
        Case(statement, (*literals, *common), is_direct)
        for literals, is_direct in principals(statement, request.requester)
    )


def condition_literals(statement: Statement, request: RequestModel) -> Iterator[tuple[Condition, Literal]]:
    """Yield each condition of a statement that can be evaluated, with its literal."""
    for condition in statement.conditions:
        if condition.problem is None:
            yield condition, _condition_literal(condition, request)


def _common_literals(statement: Statement, request: RequestModel) -> Iterator[Literal]:
    if statement.is_not_resource or EVERY_RESOURCE not in statement.resources:
        has_variables = any("${" in resource for resource in statement.resources)
        operator = "StringNotLike" if statement.is_not_resource else "StringLike"
        condition = Condition(operator, RESOURCE, statement.resources, has_variables=has_variables)
        yield _condition_literal(condition, request)
    yield from (literal for _, literal in condition_literals(statement, request))
    if statement.problems:
        yield open_literal(f"{statement.label}, which cannot be evaluated")


def _condition_literal(condition: Condition, request: RequestModel) -> Literal:
    domain = request.domain(canonical_key(condition.key))
    parsed = parse_operator(condition.operator)
    may_have_several = domain.is_multivalued or any(len(value or ()) > 1 for value in domain.choices or ())
    if parsed is not None and parsed.comparison is not None and parsed.quantifier is None and may_have_several:
        return open_literal(f"{condition}: {condition.key} has several values and needs ForAnyValue or ForAllValues")
    if condition.has_variables:
        domains = {name: request.domain(canonical_key(name)) for name in condition.variables}
        if not all(each.is_known for each in domains.values()):
            return open_literal(str(condition))
        condition = resolve_variables(condition, {name: each.only_value or () for name, each in domains.items()})
        if condition.problem is not None:
            return open_literal(f"{condition}: {condition.problem}")
    return Literal(condition)


def _principal_cases(statement: Statement, requester: Requester) -> Iterator[tuple[tuple[Literal, ...], bool]]:
    arns: list[str] = []
    is_account_named = False
    for name in statement.principals:
        if name.kind is PrincipalKind.ANYONE or _is_certainly(name, requester):
            yield (), True
            return
        is_account_named = is_account_named or _is_account_of(name, requester)
        if _may_be(name, requester):
            arns.append(name.text)
        elif _may_be_session(name, requester):
            yield (_arn_literal([name.role_arn or ""]), _session_literal(name)), True
    if arns:
        yield (_arn_literal(arns),), True
    if is_account_named:
        yield (), False


def _not_principal_cases(statement: Statement, requester: Requester) -> Iterator[tuple[tuple[Literal, ...], bool]]:
    """Yield the cases for NotPrincipal, which certainly excludes only callers named by session, role and account."""
    names = statement.principals
    if any(name.kind is PrincipalKind.ANYONE or _is_service(name, requester) for name in names):
        return
    is_account_named = any(_is_account_of(name, requester) for name in names)
    arns = [name.text for name in names if _may_be(name, requester) or _is_identity(name, requester)]
    sessions = [name for name in names if name.kind is PrincipalKind.SESSION and _is_session_of(name, requester)]
    unsettled = open_literal(f"NotPrincipal of {statement.label}, which does not name session, role and account")
    not_named = _arn_literal(arns).negated
    if not is_account_named and not sessions:
        yield (not_named,) if arns else (), True
    else:
        yield (*((not_named,) if arns else ()), unsettled), True
    if not arns:
        return
    is_session_named = requester.kind is not RequesterKind.ROLE or any(
        name.text == requester.session_arn for name in sessions
    )
    if not (is_account_named and is_session_named):
        yield (_arn_literal(arns), unsettled), True


def _is_service(name: PrincipalName, requester: Requester) -> bool:
    kinds = {PrincipalKind.SERVICE: RequesterKind.SERVICE, PrincipalKind.FEDERATED: RequesterKind.FEDERATED}
    return kinds.get(name.kind) is requester.kind and name.text == requester.arn


def _is_identity(name: PrincipalName, requester: Requester) -> bool:
    return requester.arn == name.text and _IDENTITIES.get(name.kind) is requester.kind


def _is_certainly(name: PrincipalName, requester: Requester) -> bool:
    is_session = name.kind is PrincipalKind.SESSION and requester.session_arn == name.text
    return is_session or _is_identity(name, requester) or _is_service(name, requester)


def _may_be(name: PrincipalName, requester: Requester) -> bool:
    """Return whether a name may refer to a requester with an unknown name."""
    is_open = requester.arn is None and requester.account_id in (None, name.account_id)
    return is_open and _IDENTITIES.get(name.kind) is requester.kind


def _may_be_session(name: PrincipalName, requester: Requester) -> bool:
    return name.kind is PrincipalKind.SESSION and requester.session_arn is None and _is_session_of(name, requester)


def _is_session_of(name: PrincipalName, requester: Requester) -> bool:
    role_name = (name.role_arn or "").rpartition("/")[2]  # a session's ARN omits the path of its role
    is_same = requester.arn is None or requester.arn.rpartition("/")[2] == role_name
    return requester.kind is RequesterKind.ROLE and is_same and requester.account_id in (None, name.account_id)


def _is_account_of(name: PrincipalName, requester: Requester) -> bool:
    return name.kind is PrincipalKind.ACCOUNT and requester.is_identity and name.account_id == requester.account_id


def _arn_literal(arns: list[str]) -> Literal:
    return Literal(Condition("StringEquals", PRINCIPAL_ARN_KEY, tuple(arns)))


def _session_literal(name: PrincipalName) -> Literal:
    return open_literal(f"whether the session is {name}")
