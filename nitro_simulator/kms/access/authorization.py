"""Decides by all policies and grants together whether KMS carries out a request, and words refusals as KMS does (pure).

A request passes if no policy denies it, every policy that sets limits (of the organization, of the VPC endpoint) allows
it, and the key policy or a grant lets the caller in. Where the key policy only names the caller's account, or the
caller is of another account than the key, an identity policy must allow it besides. Permissions boundaries, session
policies and resource control policies are not part of the simulator.

Source: IAM user guide, "Policy evaluation logic" and "Troubleshoot access denied error messages"; KMS developer guide,
"Determining access to AWS KMS keys".
"""

from __future__ import annotations

from dataclasses import dataclass

from nitro_attestation.key_policy.evaluation import AccessRequest, Decision, Verdict, evaluate_policy
from nitro_attestation.key_policy.model import KeyPolicy
from nitro_attestation.key_policy.principals import PrincipalMatch
from nitro_simulator.errors import KmsFault
from nitro_simulator.kms.access.policies import AccountPolicies, PolicyKind

_ARTICLES = {PolicyKind.IDENTITY: "an"}
_LIMITS = (PolicyKind.SERVICE_CONTROL, PolicyKind.VPC_ENDPOINT)


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused.

    Attributes:
        kind: the kind of policy that refuses it; like AWS, it names one of them.
        is_explicit: whether a statement denies it, instead of none allowing it.
        explanation: the statements that were examined, one line each.
    """

    kind: PolicyKind
    is_explicit: bool
    explanation: str

    def fault(self, request: AccessRequest, resource: str, policy_arn: str | None = None) -> KmsFault:
        """Return KMS's error.

        Args:
            request: what was decided.
            resource: the ARN of the key, or ``*``.
            policy_arn: of the policy that denies it, if the text names it.
        """
        if self.is_explicit:
            reason = f"with an explicit deny in {_ARTICLES.get(self.kind, 'a')} {self.kind}"
            reason += f": {policy_arn}" if policy_arn else ""
        else:
            reason = f"because no {self.kind} allows the {request.action} action"
        text = f"User: {request.principal.arn} is not authorized to perform: {request.action} on resource: {resource}"
        return KmsFault("AccessDeniedException", f"{text} {reason}")


def find_refusal(
    request: AccessRequest,
    policies: AccountPolicies,
    *,
    key_policy: KeyPolicy | None,
    granted: PrincipalMatch = PrincipalMatch.NO,
) -> Refusal | None:
    """Return why a request is refused, or None if it is allowed.

    Args:
        request: what to decide.
        policies: those of the account.
        key_policy: of the key, or None if the request uses none.
        granted: whether a grant allows it, to the caller or to the caller's account.
    """
    by_kind = {
        PolicyKind.SERVICE_CONTROL: policies.service_control,
        PolicyKind.VPC_ENDPOINT: policies.vpc_endpoint,
        PolicyKind.RESOURCE: key_policy,
        PolicyKind.IDENTITY: policies.identity(request.principal),
    }
    decisions = {kind: evaluate_policy(policy, request) for kind, policy in by_kind.items() if policy is not None}
    for kind, decision in decisions.items():
        if decision.verdict is Verdict.EXPLICIT_DENY:
            return _refusal(kind, decision)
    for kind in _LIMITS:
        if kind in decisions and not decisions[kind].is_allowed:
            return _refusal(kind, decisions[kind])
    return None if granted is PrincipalMatch.DIRECT else _missing_permission(request, decisions, granted)


def _missing_permission(
    request: AccessRequest, decisions: dict[PolicyKind, Decision], granted: PrincipalMatch
) -> Refusal | None:
    by_key = decisions.get(PolicyKind.RESOURCE)
    if by_key is not None and not by_key.is_allowed and granted is PrincipalMatch.NO:
        return _refusal(PolicyKind.RESOURCE, by_key)
    is_own_key = (request.key_arn or "").split(":")[4:5] == [request.principal.account_id]
    if by_key is not None and by_key.is_allowed and is_own_key and not by_key.is_left_to_iam:
        return None
    by_identity = decisions[PolicyKind.IDENTITY]
    return None if by_identity.is_allowed else _refusal(PolicyKind.IDENTITY, by_identity)


def _refusal(kind: PolicyKind, decision: Decision) -> Refusal:
    explanation = decision.explanation if kind is PolicyKind.RESOURCE else f"{kind}: {decision.explanation}"
    return Refusal(kind, decision.verdict is Verdict.EXPLICIT_DENY, explanation)
