"""Explains how a key policy decides on a request from an enclave, statement by statement (pure)."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass

from nitro_attestation.document.payload import DEBUG_PCRS
from nitro_attestation.key_policy.conditions import NULL, ConditionResult
from nitro_attestation.key_policy.context import (
    ENCRYPTION_CONTEXT_PREFIX,
    VIA_SERVICE_KEY,
    attestation_context,
    caller_context,
    encryption_context_keys,
    is_attestation_key,
    pcr_index,
)
from nitro_attestation.key_policy.evaluation import (
    AccessRequest,
    Decision,
    PrincipalMatch,
    StatementResult,
    evaluate_policy,
    is_about_action,
)
from nitro_attestation.key_policy.gaps import Gap, find_gaps
from nitro_attestation.key_policy.model import Effect, KeyPolicy, Principal, Statement
from nitro_attestation.measurements import PCR_BYTES, SIGNER_PCR
from nitro_attestation.quoting import quoted

ROLE_PCR = 3
_DIGEST = re.compile(rf"[0-9A-Fa-f]{{{2 * PCR_BYTES}}}", re.ASCII)
_ANOTHER = {
    0: "another image: the policy names an older or newer build, or the enclave runs one",
    1: "another kernel or boot ramdisk",
    2: "another application in the image",
    ROLE_PCR: "another IAM role of the parent instance",
    4: "another parent instance",
    SIGNER_PCR: "signed with another certificate",
}
"""What each PCR measures. Source: AWS Nitro Enclaves user guide, "Where to get an enclave's measurements"."""


@dataclass(frozen=True)
class ConditionExplanation:
    """How one condition came out; ``why`` says what is behind it, where that is known and it stands in the way."""

    result: ConditionResult
    why: str | None


@dataclass(frozen=True)
class StatementExplanation:
    """How one statement came out.

    Attributes:
        result: whether it applies, and the first thing that kept it from that.
        why: what is behind a principal or action that does not fit, or None.
        conditions: all of them; none where principal, action or resource did not fit already.
    """

    result: StatementResult
    why: str | None
    conditions: tuple[ConditionExplanation, ...]


class Outcome(enum.Enum):
    """What an explanation comes to."""

    ALLOWED = enum.auto()
    """The request is allowed, and nothing in the policy leads around the attestation."""
    ALLOWED_WITH_GAPS = enum.auto()
    """The request is allowed, but so are others, without this enclave."""
    DENIED = enum.auto()


@dataclass(frozen=True)
class Explanation:
    """How a policy decides on a request, and what leads around the attestation in it."""

    request: AccessRequest
    decision: Decision
    statements: tuple[StatementExplanation, ...]
    gaps: tuple[Gap, ...]

    @property
    def outcome(self) -> Outcome:
        """The explanation in one word."""
        if not self.decision.is_allowed:
            return Outcome.DENIED
        return Outcome.ALLOWED_WITH_GAPS if self.gaps else Outcome.ALLOWED


def explain_policy(
    policy: KeyPolicy,
    *,
    caller: Principal,
    operation: str,
    pcrs: Mapping[int, bytes],
    encryption_context: Mapping[str, str],
) -> Explanation:
    """Explain how ``policy`` decides on a request that carries an enclave's attestation document.

    Does not verify the document, and knows nothing of IAM policies, grants, and condition keys about the network.

    Args:
        policy: the key policy.
        caller: whose credentials the enclave uses.
        operation: an operation of ATTESTED_KEY_OPERATIONS.
        pcrs: of the document.
        encryption_context: of the request.
    """
    context = caller_context(caller) | encryption_context_keys(encryption_context) | attestation_context(pcrs)
    request = AccessRequest(caller, f"kms:{operation}", None, context)
    decision = evaluate_policy(policy, request)
    return Explanation(
        request=request,
        decision=decision,
        statements=tuple(_explain_statement(result, request, pcrs) for result in decision.results),
        gaps=find_gaps(policy, operation=operation, caller=caller, pcrs=pcrs),
    )


def _explain_statement(
    result: StatementResult, request: AccessRequest, pcrs: Mapping[int, bytes]
) -> StatementExplanation:
    statement = result.statement
    stands_in_the_way = statement.effect is Effect.ALLOW  # where a Deny applies, it is what holds that does
    conditions = tuple(
        ConditionExplanation(
            condition, _explain_condition(condition, pcrs) if condition.holds != stands_in_the_way else None
        )
        for condition in result.conditions
    )
    return StatementExplanation(result, _explain_mismatch(statement, result, request), conditions)


def _explain_mismatch(statement: Statement, result: StatementResult, request: AccessRequest) -> str | None:
    if result.principal_match is PrincipalMatch.NO:
        return f"it names {', '.join((*statement.aws_principals, *statement.other_principals))}"
    if not is_about_action(statement, request.action):
        return f"it is about {'all but ' if statement.is_not_action else ''}{', '.join(statement.actions)}"
    if result.matches and statement.effect is Effect.ALLOW and result.principal_match is PrincipalMatch.ACCOUNT:
        return "it names the whole account: IAM policies, which are not looked at here, have the last word"
    return None


def _explain_condition(result: ConditionResult, pcrs: Mapping[int, bytes]) -> str | None:
    key = result.condition.key.lower()
    if is_attestation_key(key):
        return _explain_attestation(result, pcrs)
    if key == VIA_SERVICE_KEY.lower():
        return "an enclave calls KMS itself, never through another AWS service, so its requests have no such key"
    if result.actual is None and key.startswith(ENCRYPTION_CONTEXT_PREFIX.lower()):
        return "the encryption context has no such name: --encryption-context NAME=VALUE gives one"
    if result.actual is None:
        return "what a request says of it is not known here, and counts as nothing"
    return _explain_case(result)


def _explain_attestation(result: ConditionResult, pcrs: Mapping[int, bytes]) -> str | None:
    condition, index = result.condition, pcr_index(result.condition.key)
    if index is None:
        return _explain_unknown_key(condition.key)
    if result.actual is None:
        return f"the document has no PCR{index}: only locked PCRs are in it"
    if condition.operator == NULL:
        return f"every enclave's document has PCR{index}, so the key is there whatever the image is"
    if not any(pcrs[index]):
        return _explain_zeros(index)
    if any(re.fullmatch("0+", value) for value in condition.values):
        return (
            "the policy has zeros, which only enclaves in debug mode show: take the measurements that nitro-cli"
            " build-enclave prints"
        )
    return _explain_case(result) or _explain_value(result, index, pcrs)


def _explain_unknown_key(key: str) -> str:
    if "nitrotpm" in key.lower():
        return "it is about documents of a NitroTPM, which no enclave makes"
    return f"KMS has no condition key {quoted(key)}, only ImageSha384 and PCR0 to PCR31: no request has it"


def _explain_zeros(index: int) -> str:
    if index in DEBUG_PCRS:
        return f"the enclave runs in debug mode and shows zeros in PCR{index}: run it without --debug-mode"
    if index == SIGNER_PCR:
        return (
            "the image is not signed, so PCR8 is zeros: nitro-cli build-enclave signs it with --private-key and"
            " --signing-certificate"
        )
    return "the parent instance has no IAM role" if index == ROLE_PCR else f"PCR{index} is not in use: it is zeros"


def _explain_case(result: ConditionResult) -> str | None:
    condition, actual = result.condition, result.actual or ""
    if actual.lower() not in (value.lower() for value in condition.values) or actual in condition.values:
        return None
    return (
        f"only the case differs, which {condition.operator} compares: KMS presents lower-case digits, and"
        " StringEqualsIgnoreCase takes either"
    )


def _explain_value(result: ConditionResult, index: int, pcrs: Mapping[int, bytes]) -> str | None:
    wanted = [value.lower() for value in result.condition.values]
    for other, pcr in pcrs.items():
        if other != index and pcr.hex() in wanted and any(pcr):
            return f"that is the document's PCR{other}: it stands under the wrong condition key"
    if "Like" not in result.condition.operator:
        for value in result.condition.values:
            if _DIGEST.fullmatch(value) is None:
                return f"a PCR has {2 * PCR_BYTES} hexadecimal digits, {quoted(value)} has {len(value)} characters"
    return _ANOTHER.get(index)
