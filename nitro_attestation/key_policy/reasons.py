"""Explain in words why a statement does not apply, or why a condition prevents access (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nitro_attestation.document.payload import DEBUG_PCRS
from nitro_attestation.key_policy.conditions.condition import ConditionResult
from nitro_attestation.key_policy.conditions.keys import (
    ENCRYPTION_CONTEXT_PREFIX,
    KMS,
    VIA_SERVICE_KEY,
    is_attestation_key,
    is_wrong_key,
    nearest_key,
)
from nitro_attestation.key_policy.conditions.operators import NULL
from nitro_attestation.key_policy.context import pcr_index
from nitro_attestation.key_policy.evaluation import AccessRequest, StatementResult
from nitro_attestation.key_policy.model import EVERY_RESOURCE, Effect
from nitro_attestation.key_policy.principals import PrincipalMatch
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


def explain_mismatch(result: StatementResult, request: AccessRequest) -> str | None:
    """Return why a statement does not match a request, or that its Allow leaves the decision to IAM; None otherwise."""
    statement = result.statement
    if result.principal_match is PrincipalMatch.NO:
        return f"it names {', '.join(map(str, statement.principals)) or 'nobody'}"
    if not statement.is_about_action(request.action):
        return f"it is about {'all but ' if statement.is_not_action else ''}{', '.join(statement.actions)}"
    is_for_account = result.principal_match is PrincipalMatch.ACCOUNT and statement.effect is Effect.ALLOW
    if is_for_account and result.matches is not False:
        return "it names the whole account: IAM policies, which are not evaluated here, decide"
    return _explain_open_element(result, request) if result.matches is None else None


def _explain_open_element(result: StatementResult, request: AccessRequest) -> str | None:
    """Return why it is unknown whether an element other than Condition matches a request."""
    statement = result.statement
    if result.principal_match is PrincipalMatch.UNSETTLED and statement.is_not_principal:
        return "AWS checks the session, the role and the account of the caller, and NotPrincipal does not name them all"
    if result.principal_match is PrincipalMatch.UNSETTLED:
        return "it names a session of the caller's role: pass the ARN of the session with --role"
    if request.key_arn is None and EVERY_RESOURCE not in statement.resources:
        return f"it is about {', '.join(statement.resources)}: pass the key's ARN with --key-arn"
    return None


def explain_condition(result: ConditionResult, pcrs: Mapping[int, bytes]) -> str | None:
    """Return why a condition prevents access, or None if unknown.

    Args:
        result: the result of the condition.
        pcrs: of the enclave's document.
    """
    key = result.condition.key.lower()
    if is_attestation_key(key):
        return _explain_attestation(result, pcrs)
    if key == VIA_SERVICE_KEY.lower():
        return "an enclave calls KMS directly, never through another AWS service, so its requests have no such key"
    if is_wrong_key(result.condition.key):
        return _explain_unknown_key(result.condition.key)
    if not result.is_known:
        return f"its value in a request is unknown: pass it with --context-key {result.condition.key}=VALUE"
    return _explain_case(result) if result.actual is not None else _explain_absent(key)


def _explain_absent(key: str) -> str:
    if key.startswith(ENCRYPTION_CONTEXT_PREFIX.lower()):
        return "the encryption context has no such name: pass it with --encryption-context NAME=VALUE"
    return "the enclave's request has no such key"


def _explain_attestation(result: ConditionResult, pcrs: Mapping[int, bytes]) -> str | None:
    condition, index = result.condition, pcr_index(result.condition.key)
    if index is None:
        return _explain_unknown_key(condition.key)
    if result.actual is None:
        return f"the document has no PCR{index}: it contains only locked PCRs"
    if condition.operator == NULL:
        return f"every enclave's document has PCR{index}, so the key is present for any image"
    if not any(pcrs[index]):
        return _explain_zeros(index)
    if any(re.fullmatch("0+", value) for value in condition.values):
        return (
            "the policy has zeros, which only enclaves in debug mode show: use the measurements that nitro-cli"
            " build-enclave prints"
        )
    return _explain_case(result) or _explain_value(result, index, pcrs)


def _explain_unknown_key(key: str) -> str:
    if "nitrotpm" in key.lower():
        return "it is about documents of a NitroTPM, not of an enclave"
    owner = "KMS" if key.lower().startswith(KMS) else "AWS"
    return f"{owner} has no condition key {quoted(key)}, so no request has it: the closest one is {nearest_key(key)}"


def _explain_zeros(index: int) -> str:
    if index in DEBUG_PCRS:
        return f"the enclave runs in debug mode and shows zeros in PCR{index}: run it without --debug-mode"
    if index == SIGNER_PCR:
        return (
            "the image is not signed, so PCR8 is all zeros: nitro-cli build-enclave signs it with --private-key and"
            " --signing-certificate"
        )
    return "the parent instance has no IAM role" if index == ROLE_PCR else f"PCR{index} is not in use: it is all zeros"


def _explain_case(result: ConditionResult) -> str | None:
    condition, actual = result.condition, result.actual or ""
    if actual.lower() not in (value.lower() for value in condition.values) or actual in condition.values:
        return None
    return (
        f"only the case differs, and {condition.operator} is case-sensitive: KMS presents lower-case digits;"
        " StringEqualsIgnoreCase accepts either case"
    )


def _explain_value(result: ConditionResult, index: int, pcrs: Mapping[int, bytes]) -> str | None:
    wanted = [value.lower() for value in result.condition.values]
    for other, pcr in pcrs.items():
        if other != index and pcr.hex() in wanted and any(pcr):
            return f"that is the document's PCR{other}: the condition key is wrong"
    if "Like" not in result.condition.operator:
        for value in result.condition.values:
            if _DIGEST.fullmatch(value) is None:
                return f"a PCR has {2 * PCR_BYTES} hexadecimal digits, but {quoted(value)} has {len(value)} characters"
    return _ANOTHER.get(index)
