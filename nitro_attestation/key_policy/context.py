"""Condition keys and values of a request to KMS (pure).

Source: KMS developer guide, "AWS KMS condition keys" and "Condition keys for Nitro Enclaves"; IAM user guide, "AWS
global condition context keys".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from nitro_attestation.document.payload import PCR_COUNT
from nitro_attestation.errors import PolicyError
from nitro_attestation.key_policy.conditions.keys import (
    ATTESTATION_PREFIX,
    ENCRYPTION_ALGORITHM_KEY,
    ENCRYPTION_CONTEXT_PREFIX,
    IMAGE_KEY,
    KMS,
    PRINCIPAL_ARN_KEY,
    find_condition_key,
    is_attestation_key,
)
from nitro_attestation.key_policy.model import Effect, KeyPolicy, Statement
from nitro_attestation.key_policy.principals import Principal
from nitro_attestation.key_policy.symbolic.requests import SYMMETRIC_DEFAULT, Requester, RequesterKind
from nitro_attestation.quoting import quoted

_CALLER_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):(iam::(?P<owner>[0-9]{12}):(?P<kind>user|role)/[\w+=,.@/-]+"
    r"|sts::(?P<session_owner>[0-9]{12}):assumed-role/(?P<role>[\w+=,.@-]+)/[\w+=,.@-]+)",
    re.ASCII,
)
_PCR_KEY = re.compile(re.escape(ATTESTATION_PREFIX) + "PCR(0|[1-9][0-9]?)", re.IGNORECASE)


def parse_caller(arn: str) -> Principal:
    """Return the principal with an ARN.

    The ARN of a role session does not contain the role's path; the role is taken to have none.

    Args:
        arn: of an IAM user, an IAM role, or a session of a role.

    Raises:
        PolicyError: it is none of these.
    """
    match = _CALLER_ARN.fullmatch(arn)
    if match is None:
        raise PolicyError(
            f"ARN: expected an IAM role, role session or user, got {quoted(arn, 128)}",
            hint="use an ARN such as arn:aws:iam::111122223333:role/NAME",
        )
    if match["role"]:
        role_arn = f"arn:{match['partition']}:iam::{match['session_owner']}:role/{match['role']}"
        return Principal(arn, match["session_owner"], role_arn)
    return Principal(arn, match["owner"], arn if match["kind"] == "role" else None)


def pcr_key(index: int) -> str:
    """Return the condition key of one PCR."""
    return f"{ATTESTATION_PREFIX}PCR{index}"


def pcr_index(key: str) -> int | None:
    """Return the index of the PCR that a condition key is about, or None."""
    if key.lower() == IMAGE_KEY.lower():
        return 0
    match = _PCR_KEY.fullmatch(key)
    return int(match[1]) if match and int(match[1]) < PCR_COUNT else None


def attestation_context(pcrs: Mapping[int, bytes]) -> dict[str, str]:
    """Return the condition keys that an attestation document provides: each PCR, in lower-case hexadecimal.

    Args:
        pcrs: of the document, by index.
    """
    context = {pcr_key(index): value.hex() for index, value in pcrs.items()}
    return context | ({IMAGE_KEY: pcrs[0].hex()} if 0 in pcrs else {})


def caller_context(principal: Principal) -> dict[str, str]:
    """Return the condition keys that describe the caller of a direct call to KMS, which has no VIA_SERVICE_KEY."""
    context = {
        "kms:CallerAccount": principal.account_id,
        "aws:PrincipalAccount": principal.account_id,
        PRINCIPAL_ARN_KEY: principal.role_arn or principal.arn,
        "aws:PrincipalType": requester_of(principal).kind.value,
        "aws:PrincipalIsAWSService": "false",
        "aws:SecureTransport": "true",
        "aws:ViaAWSService": "false",
    }
    return context | ({"aws:username": principal.arn.rpartition("/")[2]} if principal.role_arn is None else {})


def operation_context(action: str, encryption_algorithm: str = SYMMETRIC_DEFAULT) -> dict[str, str]:
    """Return the condition keys that describe the algorithm of a request.

    Args:
        action: such as ``kms:Decrypt``.
        encryption_algorithm: of the request, or the default if it names none.
    """
    algorithm = find_condition_key(ENCRYPTION_ALGORITHM_KEY)
    has_algorithm = algorithm is not None and action in (algorithm.actions or ())
    context = {ENCRYPTION_ALGORITHM_KEY: encryption_algorithm} if has_algorithm else {}
    return context | ({"kms:KeyAgreementAlgorithm": "ECDH"} if action == "kms:DeriveSharedSecret" else {})


def requester_of(principal: Principal) -> Requester:
    """Return a caller as a requester. A role without a session stands for any of its sessions."""
    if principal.role_arn is None:
        return Requester(RequesterKind.USER, principal.account_id, principal.arn)
    session = principal.arn if principal.arn != principal.role_arn else None
    return Requester(RequesterKind.ROLE, principal.account_id, principal.role_arn, session)


def encryption_context_keys(context: Mapping[str, str]) -> dict[str, str | tuple[str, ...]]:
    """Return the condition keys of an encryption context: one for each of its names, and one for all names."""
    keys: dict[str, str | tuple[str, ...]] = {
        ENCRYPTION_CONTEXT_PREFIX + name: value for name, value in context.items()
    }
    return keys | ({"kms:EncryptionContextKeys": tuple(context)} if context else {})


def named_callers(policy: KeyPolicy, operations: Sequence[str]) -> list[str]:
    """Return the ARNs of the roles, sessions and users that a policy allows to perform one of the operations.

    Looks at Principal and aws:PrincipalArn of the statements with a condition on the attestation or, if these name
    nobody, of all statements.
    """
    allows = [
        statement
        for statement in policy.statements
        if statement.effect is Effect.ALLOW
        and any(statement.is_about_action(f"{KMS}{operation}") for operation in operations)
    ]
    attested = [each for each in allows if any(is_attestation_key(condition.key) for condition in each.conditions)]
    for statements in (attested, allows):
        names = dict.fromkeys(name for statement in statements for name in _arns_named_in(statement))
        if names:
            return list(names)
    return []


def _arns_named_in(statement: Statement) -> Iterator[str]:
    texts = [name.text for name in statement.principals]
    for condition in statement.conditions:
        if condition.key.lower() == PRINCIPAL_ARN_KEY.lower() and "Not" not in condition.operator:
            texts += condition.values
    return (text for text in texts if _CALLER_ARN.fullmatch(text))
