"""Decide whether a key policy allows a request, and report which statement decided and why (pure).

The request is fully known here; ``explanation`` handles requests with unknown parts. What cannot be evaluated never
grants access: an Allow that cannot be evaluated does not apply, and such a Deny does.

Source: KMS developer guide, "Determining access to AWS KMS keys"; IAM user guide, "Policy evaluation logic".
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from nitro_attestation.key_policy.conditions.condition import (
    Condition,
    ConditionResult,
    ContextValue,
    evaluate_condition,
    holds,
    resolve_variables,
)
from nitro_attestation.key_policy.model import EVERY_RESOURCE, Effect, KeyPolicy, Statement
from nitro_attestation.key_policy.principals import (
    Principal,
    PrincipalMatch,
    match_not_principals,
    match_principals,
)


class Verdict(enum.StrEnum):
    """The result of an evaluation."""

    ALLOW = "allow"
    EXPLICIT_DENY = "explicit deny"
    IMPLICIT_DENY = "implicit deny"
    DEPENDS = "depends"
    """It depends on something unknown about the request."""
    NOT_BY_KEY_POLICY = "not decided by a key policy"
    """The operation uses no key, so only IAM policies decide."""


@dataclass(frozen=True)
class AccessRequest:
    """A request to decide about.

    Attributes:
        principal: who makes it.
        action: such as ``kms:Decrypt``.
        key_arn: of the key, or None if unknown; every Resource then counts as the key.
        context: condition keys and their values, several for a multivalued key; the case of the keys does not matter.
    """

    principal: Principal
    action: str
    key_arn: str | None
    context: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class StatementResult:
    """The result of evaluating one statement.

    Attributes:
        statement: what was evaluated.
        matches: whether it applies to the request, or None if unknown.
        principal_match: whether, and how, its Principal names the caller.
        mismatch: the first reason why it does not apply, or None.
        conditions: the results of its conditions; empty if principal, action or resource do not match.
    """

    statement: Statement
    matches: bool | None
    principal_match: PrincipalMatch
    mismatch: str | None = None
    conditions: tuple[ConditionResult, ...] = ()


@dataclass(frozen=True)
class Decision:
    """The outcome of an evaluation.

    Attributes:
        verdict: the outcome.
        statement: the statement that decided, or None if none applied.
        is_left_to_iam: whether the Allow names only the account, so that the caller's IAM policies decide. These are
            not evaluated here, and are assumed to allow the request.
        results: every statement of the policy, in order.
        depends_on: what the verdict depends on; empty if it is certain.
    """

    verdict: Verdict
    statement: Statement | None
    is_left_to_iam: bool
    results: tuple[StatementResult, ...]
    depends_on: tuple[str, ...] = ()

    @property
    def is_allowed(self) -> bool:
        """Whether the request is allowed."""
        return self.verdict is Verdict.ALLOW

    @property
    def explanation(self) -> str:
        """The reasons for the verdict, one line for each statement involved."""
        if self.depends_on:
            return f"{self.verdict} on {', '.join(self.depends_on)}"
        if self.statement is not None:
            how = " through the account's IAM policies" if self.is_left_to_iam else ""
            return f"{self.verdict} by {self.statement.label}{how}"
        if self.verdict is Verdict.NOT_BY_KEY_POLICY:
            return f"{self.verdict}: the operation uses no key, and the caller's IAM policies decide"
        reasons = (f"{result.statement.label}: {result.mismatch}" for result in self.results)
        return "\n".join([f"{self.verdict}: no statement applies", *reasons])


def evaluate_policy(policy: KeyPolicy, request: AccessRequest) -> Decision:
    """Decide whether ``policy`` allows ``request``.

    An explicit deny overrides every Allow; without an Allow that applies, the request is denied. Does not consider
    grants, IAM policies, permission boundaries and organization policies.
    """
    values = {key.lower(): (value,) if isinstance(value, str) else value for key, value in request.context.items()}
    results = tuple(_evaluate_statement(statement, request, values) for statement in policy.statements)
    return decide(results, {result.statement.index: _applies(result) for result in results})


def decide(results: tuple[StatementResult, ...], applying: Mapping[int, bool]) -> Decision:
    """Return the decision that follows from which statements apply.

    Args:
        results: every statement of the policy, in order.
        applying: whether each statement applies, by its index.
    """
    found = [result for result in results if applying[result.statement.index]]
    for result in found:
        if result.statement.may_be(Effect.DENY):
            return Decision(Verdict.EXPLICIT_DENY, result.statement, is_left_to_iam=False, results=results)
    for wanted in (PrincipalMatch.DIRECT, PrincipalMatch.ACCOUNT):
        for result in found:
            if result.principal_match is wanted:
                is_left_to_iam = wanted is PrincipalMatch.ACCOUNT
                return Decision(Verdict.ALLOW, result.statement, is_left_to_iam=is_left_to_iam, results=results)
    return Decision(Verdict.IMPLICIT_DENY, None, is_left_to_iam=False, results=results)


def match_statement(statement: Statement, principal: Principal) -> PrincipalMatch:
    """Return whether, and how, a statement's Principal or NotPrincipal is about a caller."""
    match = match_not_principals if statement.is_not_principal else match_principals
    return match(statement.principals, principal)


def first_mismatch(
    statement: Statement, match: PrincipalMatch, request: AccessRequest, is_about_resource: bool | None
) -> str | None:
    """Return why a statement does not apply, without considering its conditions, or None.

    Args:
        statement: what is evaluated.
        match: whether its principals include the caller.
        request: what is to be decided.
        is_about_resource: whether its resources include the key, or None if unknown.
    """
    if match is PrincipalMatch.NO:
        if statement.is_not_principal:
            return f"NotPrincipal: excludes {request.principal.arn}"
        return f"Principal: does not name {request.principal.arn}"
    if not statement.is_about_action(request.action):
        return f"{'NotAction' if statement.is_not_action else 'Action'}: is not about {request.action}"
    if is_about_resource is False:
        element = "NotResource" if statement.is_not_resource else "Resource"
        return f"{element}: is not about {request.key_arn or 'a KMS key'}"
    return None


def is_about_key(statement: Statement, key_arn: str | None, context: Mapping[str, ContextValue]) -> bool | None:
    """Return whether a statement's Resource or NotResource is about a key, or None if that is unknown.

    Args:
        statement: what is evaluated.
        key_arn: of the key, or None to count every Resource as the key.
        context: the values of policy variables.
    """
    if key_arn is None or EVERY_RESOURCE in statement.resources:
        return not statement.is_not_resource
    operator = "StringNotLike" if statement.is_not_resource else "StringLike"
    has_variables = any("${" in resource for resource in statement.resources)
    condition = Condition(operator, "Resource", statement.resources, has_variables=has_variables)
    return holds(resolve_variables(condition, context), (key_arn,))


def _applies(result: StatementResult) -> bool:
    """Return whether a statement applies; one that cannot be evaluated applies if it is a Deny."""
    return result.matches if result.matches is not None else result.statement.may_be(Effect.DENY)


def _evaluate_statement(
    statement: Statement, request: AccessRequest, context: Mapping[str, ContextValue]
) -> StatementResult:
    match = match_statement(statement, request.principal)
    is_about_resource = is_about_key(statement, request.key_arn, context)
    mismatch = first_mismatch(statement, match, request, is_about_resource)
    if mismatch is not None:
        return StatementResult(statement, matches=False, principal_match=match, mismatch=mismatch)
    conditions = tuple(evaluate_condition(condition, context) for condition in statement.conditions)
    failed = next((result for result in conditions if result.holds is False), None)
    is_unclear = (
        bool(statement.problems)
        or match is PrincipalMatch.UNSETTLED
        or is_about_resource is None
        or any(result.holds is None for result in conditions)
    )
    matches = False if failed is not None else (None if is_unclear else True)
    return StatementResult(
        statement,
        matches=matches,
        principal_match=match,
        mismatch=None if failed is None else str(failed),
        conditions=conditions,
    )
