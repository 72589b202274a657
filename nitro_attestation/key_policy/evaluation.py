"""Decides by a key policy whether a request is allowed, and says which statement decided and why (pure).

Source: KMS developer guide, "Determining access to AWS KMS keys"; IAM user guide, "Policy evaluation logic".
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from nitro_attestation.key_policy.conditions import ConditionResult, evaluate_condition, wildcard_match
from nitro_attestation.key_policy.model import ANYONE, Effect, KeyPolicy, Principal, Statement


class Verdict(enum.StrEnum):
    """How an evaluation ends."""

    ALLOW = "allow"
    EXPLICIT_DENY = "explicit deny"
    IMPLICIT_DENY = "implicit deny"


class PrincipalMatch(enum.Enum):
    """Whether a statement is about a caller."""

    NO = enum.auto()
    DIRECT = enum.auto()
    """It names the caller, the caller's role, or everybody."""
    ACCOUNT = enum.auto()
    """It names the caller's account: an Allow then leaves the decision to the account's IAM policies."""


@dataclass(frozen=True)
class AccessRequest:
    """What is to be decided.

    Attributes:
        principal: who asks.
        action: such as ``kms:Decrypt``.
        key_arn: of the key, or None where that is not known, and every Resource counts as the key.
        context: condition keys and what the request says of them; the case of the keys does not matter.
    """

    principal: Principal
    action: str
    key_arn: str | None
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StatementResult:
    """How one statement came out.

    Attributes:
        statement: what was evaluated.
        matches: whether it applies to the request.
        principal_match: whether, and how, its Principal names the caller.
        mismatch: the first thing that kept it from applying, or None.
        conditions: how its conditions came out; empty where it did not get that far.
    """

    statement: Statement
    matches: bool
    principal_match: PrincipalMatch
    mismatch: str | None = None
    conditions: tuple[ConditionResult, ...] = ()


@dataclass(frozen=True)
class Decision:
    """The outcome of an evaluation.

    Attributes:
        verdict: the outcome.
        statement: which statement decided, or None where none applied.
        is_left_to_iam: whether the Allow names only the account, so that the caller's IAM policies have the last word.
            They are not looked at: they count as allowing it.
        results: every statement of the policy, in order.
    """

    verdict: Verdict
    statement: Statement | None
    is_left_to_iam: bool
    results: tuple[StatementResult, ...]

    @property
    def is_allowed(self) -> bool:
        """Whether the request may go on."""
        return self.verdict is Verdict.ALLOW

    @property
    def explanation(self) -> str:
        """Why, in one line for each statement that had a part in it."""
        if self.statement is not None:
            how = " through the account's IAM policies" if self.is_left_to_iam else ""
            return f"{self.verdict} by {self.statement.label}{how}"
        reasons = (f"{result.statement.label}: {result.mismatch}" for result in self.results)
        return "\n".join([f"{self.verdict}: no statement applies", *reasons])


def evaluate_policy(policy: KeyPolicy, request: AccessRequest) -> Decision:
    """Decide whether ``policy`` allows ``request``.

    An explicit deny wins over everything; without an Allow that applies, the answer is no. Grants, IAM policies,
    permission boundaries and organisation policies are not looked at.
    """
    context = {key.lower(): value for key, value in request.context.items()}
    results = tuple(_evaluate_statement(statement, request, context) for statement in policy.statements)
    applying = [result for result in results if result.matches]
    for result in applying:
        if result.statement.effect is Effect.DENY:
            return Decision(Verdict.EXPLICIT_DENY, result.statement, is_left_to_iam=False, results=results)
    for wanted in (PrincipalMatch.DIRECT, PrincipalMatch.ACCOUNT):
        for result in applying:
            if result.principal_match is wanted:
                is_left_to_iam = wanted is PrincipalMatch.ACCOUNT
                return Decision(Verdict.ALLOW, result.statement, is_left_to_iam=is_left_to_iam, results=results)
    return Decision(Verdict.IMPLICIT_DENY, None, is_left_to_iam=False, results=results)


def is_about_action(statement: Statement, action: str) -> bool:
    """Return whether ``action``, such as ``kms:Decrypt``, is one that the statement is about."""
    is_named = any(wildcard_match(pattern, action, ignore_case=True) for pattern in statement.actions)
    return is_named != statement.is_not_action


def match_principal(statement: Statement, principal: Principal) -> PrincipalMatch:
    """Return whether, and how, the statement's Principal names a caller."""
    direct = {ANYONE, principal.arn, principal.role_arn}
    if not direct.isdisjoint(statement.aws_principals):
        return PrincipalMatch.DIRECT
    if any(_names_account(name, principal.account_id) for name in statement.aws_principals):
        return PrincipalMatch.ACCOUNT
    return PrincipalMatch.NO


def _evaluate_statement(statement: Statement, request: AccessRequest, context: Mapping[str, str]) -> StatementResult:
    match = match_principal(statement, request.principal)
    mismatch = _first_mismatch(statement, request, match)
    if mismatch is not None:
        return StatementResult(statement, matches=False, principal_match=match, mismatch=mismatch)
    conditions = tuple(evaluate_condition(condition, context) for condition in statement.conditions)
    failed = next((result for result in conditions if not result.holds), None)
    return StatementResult(
        statement,
        matches=failed is None,
        principal_match=match,
        mismatch=None if failed is None else str(failed),
        conditions=conditions,
    )


def _first_mismatch(statement: Statement, request: AccessRequest, match: PrincipalMatch) -> str | None:
    if match is PrincipalMatch.NO:
        return f"Principal: does not name {request.principal.arn}"
    if not is_about_action(statement, request.action):
        return f"{'NotAction' if statement.is_not_action else 'Action'}: is not about {request.action}"
    key_arn = request.key_arn
    if key_arn is not None and not any(wildcard_match(pattern, key_arn) for pattern in statement.resources):
        return f"Resource: is not about {key_arn}"
    return None


def _names_account(name: str, account_id: str) -> bool:
    return name == account_id or (name.startswith("arn:") and name.endswith(f":iam::{account_id}:root"))
