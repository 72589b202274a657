"""Explain how a key policy decides on requests from an enclave, statement by statement (pure)."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from nitro_attestation.key_policy.conditions.condition import Condition, ConditionResult
from nitro_attestation.key_policy.conditions.keys import ATTESTED_OPERATIONS, GENERATE_RANDOM, KMS
from nitro_attestation.key_policy.context import encryption_context_keys, requester_of
from nitro_attestation.key_policy.evaluation import (
    AccessRequest,
    Decision,
    StatementResult,
    Verdict,
    first_mismatch,
    match_statement,
)
from nitro_attestation.key_policy.findings import Finding, find_findings
from nitro_attestation.key_policy.gaps import Gap, find_access
from nitro_attestation.key_policy.model import Effect, KeyPolicy, Statement
from nitro_attestation.key_policy.principals import Principal, PrincipalMatch
from nitro_attestation.key_policy.reasons import explain_condition, explain_mismatch
from nitro_attestation.key_policy.symbolic.decisions import PolicySearch, Possibilities
from nitro_attestation.key_policy.symbolic.domains import Domain, Literal, find_value
from nitro_attestation.key_policy.symbolic.patterns import TooComplexError
from nitro_attestation.key_policy.symbolic.requests import PSEUDO, RESOURCE, RequestModel, canonical_key, pcr_domains
from nitro_attestation.key_policy.symbolic.statements import cases, condition_literals


@dataclass(frozen=True)
class ConditionExplanation:
    """The result of one condition; ``why`` explains one that prevents access, or is None if the reason is unknown."""

    result: ConditionResult
    why: str | None


@dataclass(frozen=True)
class StatementExplanation:
    """The result of one statement.

    Attributes:
        result: whether it applies, and the first reason if it does not.
        why: explains a principal or action that does not match, or None.
        conditions: all conditions; empty if principal, action or resource do not match.
    """

    result: StatementResult
    why: str | None
    conditions: tuple[ConditionExplanation, ...]


class Outcome(enum.Enum):
    """The summary of an explanation."""

    ALLOWED = enum.auto()
    """The policy allows an operation to the enclave, and none to anyone else."""
    ALLOWED_WITH_GAPS = enum.auto()
    """The policy may allow an operation to the enclave, but also to others without this enclave."""
    DEPENDS = enum.auto()
    """The policy allows no operation to anyone else; whether it allows one to the enclave depends on unknown facts."""
    DENIED = enum.auto()
    """The policy allows none of the operations to the enclave."""


@dataclass(frozen=True)
class OperationExplanation:
    """How a policy decides on one operation."""

    request: AccessRequest
    decision: Decision
    statements: tuple[StatementExplanation, ...]


@dataclass(frozen=True)
class Explanation:
    """How a policy decides on the operations of an enclave, and which ways around the attestation it leaves.

    Attributes:
        caller: the principal whose credentials the enclave uses.
        operations: one entry for each requested operation.
        gaps: ways around the attestation.
        notes: others that the policy admits on purpose.
        findings: parts of the policy that do not mean what they seem to say.
    """

    caller: Principal
    operations: tuple[OperationExplanation, ...]
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def outcome(self) -> Outcome:
        """The summary of the explanation."""
        verdicts = {operation.decision.verdict for operation in self.operations} - {Verdict.NOT_BY_KEY_POLICY}
        if verdicts and not verdicts & {Verdict.ALLOW, Verdict.DEPENDS}:
            return Outcome.DENIED
        if self.gaps:
            return Outcome.ALLOWED_WITH_GAPS
        return Outcome.DEPENDS if Verdict.DEPENDS in verdicts or not verdicts else Outcome.ALLOWED


def explain_policy(
    policy: KeyPolicy,
    *,
    caller: Principal,
    pcrs: Mapping[int, bytes],
    operations: Sequence[str] = ATTESTED_OPERATIONS,
    encryption_context: Mapping[str, str] | None = None,
    key_arn: str | None = None,
    context_keys: Mapping[str, str] | None = None,
    at: datetime | None = None,
) -> Explanation:
    """Explain how ``policy`` decides on requests that carry an enclave's attestation document.

    Does not verify the document, and does not consider IAM policies and grants.

    Args:
        policy: the key policy.
        caller: the principal whose credentials the enclave uses.
        pcrs: of the document.
        operations: some of ATTESTED_OPERATIONS.
        encryption_context: of the request; None for none.
        key_arn: of the key, or None if unknown.
        context_keys: condition keys whose values in the request are known, such as aws:SourceVpce.
        at: the current time, or None if unknown.
    """
    given = _given(encryption_context or {}, context_keys or {})
    requester, seconds = requester_of(caller), None if at is None else int(at.timestamp())
    explained = []
    for operation in operations:
        action = f"{KMS}{operation}"
        request = RequestModel(
            action, requester, pcr_domains(pcrs), key_arn=key_arn, given=given, is_own=True, at=seconds
        )
        explained.append(_explain_operation(policy, request, AccessRequest(caller, action, key_arn), pcrs))
    access = find_access(policy, operations=operations, caller=caller, pcrs=pcrs, key_arn=key_arn, at=at)
    return Explanation(caller, tuple(explained), access.gaps, access.notes, find_findings(policy))


def _given(encryption_context: Mapping[str, str], context_keys: Mapping[str, str]) -> dict[str, Domain]:
    given = {**encryption_context_keys(encryption_context), **context_keys}
    return {
        canonical_key(name): Domain(choices=((value,) if isinstance(value, str) else value,))
        for name, value in given.items()
    }


def _explain_operation(
    policy: KeyPolicy, model: RequestModel, request: AccessRequest, pcrs: Mapping[int, bytes]
) -> OperationExplanation:
    results = tuple(_result(statement, model, request) for statement in policy.statements)
    if request.action == f"{KMS}{GENERATE_RANDOM}":
        decision = Decision(Verdict.NOT_BY_KEY_POLICY, None, is_left_to_iam=True, results=results)
    else:
        decision = _decision(results, PolicySearch(policy, model).possibilities(), model)
    statements = tuple(_explain_statement(result, request, pcrs) for result in results)
    return OperationExplanation(request, decision, statements)


def _decision(results: tuple[StatementResult, ...], possible: Possibilities, model: RequestModel) -> Decision:
    if possible.allowed is None:
        is_explicit = possible.denied is not None and possible.unanswered is None
        statement = _deciding(results, Effect.DENY) if is_explicit else None
        verdict = Verdict.EXPLICIT_DENY if is_explicit else Verdict.IMPLICIT_DENY
        return Decision(verdict, statement, is_left_to_iam=False, results=results)
    if possible.denied is None and possible.unanswered is None:
        is_left_to_iam = possible.can_be_left_to_iam or not _is_of_key_account(model)
        return Decision(Verdict.ALLOW, _deciding(results, Effect.ALLOW), is_left_to_iam, results)
    depends_on = tuple(dict.fromkeys(name for result in results for name in _open_names(result, model)))
    return Decision(Verdict.DEPENDS, None, possible.can_be_left_to_iam, results, depends_on or ("too many conditions",))


def _is_of_key_account(model: RequestModel) -> bool:
    return model.key_arn is None or model.key_arn.split(":")[4:5] == [model.requester.account_id]


def _deciding(results: tuple[StatementResult, ...], effect: Effect) -> Statement | None:
    """Return the statement to name for a verdict: one that certainly applies, or else one that may apply."""
    for wanted in (True, None):
        for match in (PrincipalMatch.DIRECT, PrincipalMatch.ACCOUNT, PrincipalMatch.UNSETTLED):
            for result in results:
                is_it = result.matches is wanted and (result.principal_match is match or effect is Effect.DENY)
                if is_it and result.statement.may_be(effect):
                    return result.statement
    return None


def _result(statement: Statement, model: RequestModel, request: AccessRequest) -> StatementResult:
    possible = cases(statement, model)
    match = match_statement(statement, request.principal)
    if match is PrincipalMatch.NO and possible:
        match = PrincipalMatch.UNSETTLED  # it names a session, and the request's session is unknown
    truths = [_all(_truth(literal, model) for literal in case.literals) for case in possible]
    resource = [_truth(literal, model) for case in possible for literal in case.literals if _is_resource(literal)]
    mismatch = first_mismatch(statement, match, request, resource[0] if resource else True)
    if mismatch is not None:
        return StatementResult(statement, matches=False, principal_match=match, mismatch=mismatch)
    conditions = tuple(_condition_result(pair, model) for pair in condition_literals(statement, model))
    failed = next((result for result in conditions if result.holds is False), None)
    return StatementResult(
        statement,
        matches=True if True in truths else None if None in truths else False,
        principal_match=match,
        mismatch=None if failed is None else str(failed),
        conditions=conditions,
    )


def _is_resource(literal: Literal) -> bool:
    return literal.condition.key == RESOURCE


def _all(truths: Iterable[bool | None]) -> bool | None:
    found = set(truths)
    return False if False in found else None if None in found else True


def _truth(literal: Literal, model: RequestModel) -> bool | None:
    """Return whether a literal is met, or None if unknown."""
    domain = model.domain(canonical_key(literal.condition.key))
    try:
        can_hold = find_value(domain, frozenset({literal})) is not None
        can_fail = find_value(domain, frozenset({literal.negated})) is not None
    except TooComplexError:
        return None
    return None if can_hold and can_fail else can_hold


def _condition_result(pair: tuple[Condition, Literal], model: RequestModel) -> ConditionResult:
    condition, literal = pair
    domain = model.domain(canonical_key(condition.key))
    actual = ", ".join(domain.only_value or ()) or None if domain.is_known else None
    return ConditionResult(condition, actual, _truth(literal, model), is_known=domain.is_known)


def _open_names(result: StatementResult, model: RequestModel) -> Iterator[str]:
    if result.matches is not None:
        return
    for case in cases(result.statement, model):
        for literal in case.literals:
            if _truth(literal, model) is None:
                yield literal.condition.key.removeprefix(PSEUDO)


def _explain_statement(
    result: StatementResult, request: AccessRequest, pcrs: Mapping[int, bytes]
) -> StatementExplanation:
    stands_in_the_way = result.statement.effect is Effect.ALLOW  # a Deny prevents access with the conditions that hold
    conditions = tuple(
        ConditionExplanation(
            condition, explain_condition(condition, pcrs) if condition.holds is not stands_in_the_way else None
        )
        for condition in result.conditions
    )
    return StatementExplanation(result, explain_mismatch(result, request), conditions)
