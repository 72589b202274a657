"""Find parts of a key policy that do not mean what they seem to say (pure).

Source: KMS developer guide, "AWS KMS condition keys"; Service Authorization Reference, "Actions, resources, and
condition keys for AWS Key Management Service" (2026-10).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from nitro_attestation.key_policy.conditions.condition import holds
from nitro_attestation.key_policy.conditions.keys import (
    ATTESTED_OPERATIONS,
    KMS,
    find_condition_key,
    is_attestation_key,
    is_wrong_key,
    nearest_key,
)
from nitro_attestation.key_policy.conditions.operators import wildcard_match
from nitro_attestation.key_policy.model import EVERY_RESOURCE, Effect, KeyPolicy, Statement
from nitro_attestation.key_policy.principals import PrincipalKind
from nitro_attestation.quoting import quoted

_NO_DOCUMENT_ACTIONS = tuple(
    f"{KMS}{name}"
    for name in (
        *("Sign", "ReEncryptFrom", "ReEncryptTo", "GenerateMac", "CreateGrant", "Encrypt", "Decapsulate"),
        *("GenerateDataKeyWithoutPlaintext", "GenerateDataKeyPairWithoutPlaintext", "Verify", "VerifyMac"),
        *("Encapsulate", "DescribeKey", "GetPublicKey", "PutKeyPolicy", "GetKeyPolicy", "ReplicateKey"),
        *("ScheduleKeyDeletion", "CancelKeyDeletion", "EnableKey", "DisableKey", "EnableKeyRotation"),
        *("DisableKeyRotation", "GetKeyRotationStatus", "RotateKeyOnDemand", "ListKeyRotations", "ImportKeyMaterial"),
        *("DeleteImportedKeyMaterial", "GetParametersForImport", "CreateAlias", "DeleteAlias", "UpdateAlias"),
        *("TagResource", "UntagResource", "ListResourceTags", "ListGrants", "RevokeGrant", "RetireGrant"),
        *("ListKeyPolicies", "UpdateKeyDescription", "UpdatePrimaryRegion", "SynchronizeMultiRegionKey"),
    )
)
"""Actions on a key whose requests carry no attestation document, the most important ones first."""
_NAMED_ACTIONS = 3
"""Maximum number of actions that a finding names for one pattern."""
_ATTESTED_ACTIONS = tuple(f"{KMS}{operation}" for operation in ATTESTED_OPERATIONS)


class FindingKind(enum.StrEnum):
    """The severity of a finding."""

    MALFORMED = "malformed"
    """KMS would refuse the policy, and the effect of the statement is undefined."""
    WRONG = "wrong"
    """It certainly does not do what its author meant."""
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """An observation about a policy.

    Attributes:
        statement: where it is, or None for the policy as a whole.
        text: a description.
        kind: its severity.
    """

    statement: Statement | None
    text: str
    kind: FindingKind = FindingKind.NOTE

    def __str__(self) -> str:
        return self.text if self.statement is None else f"{self.statement.label}: {self.text}"


def find_findings(policy: KeyPolicy) -> tuple[Finding, ...]:
    """Return the findings about a policy, in the order of its statements."""
    found = [Finding(None, problem, FindingKind.MALFORMED) for problem in policy.problems]
    for statement in policy.statements:
        found += _problems(statement)
        found += _wrong_keys(statement)
        found += _actions_without_document(statement)
        found += _principals(statement)
        found += _resources(statement)
    return tuple(found)


def _problems(statement: Statement) -> Iterator[Finding]:
    for problem in statement.problems:
        yield Finding(statement, f"{problem}: cannot tell whether this statement applies", FindingKind.MALFORMED)


def _wrong_keys(statement: Statement) -> Iterator[Finding]:
    for name in dict.fromkeys(condition.key for condition in statement.conditions):
        if is_wrong_key(name):
            owner = "KMS" if name.lower().startswith(KMS) else "AWS"
            yield Finding(
                statement,
                f"{owner} has no condition key {quoted(name)}; the closest one is {nearest_key(name)}",
                FindingKind.WRONG,
            )
            continue
        info = find_condition_key(name)
        is_carried = info is None or info.actions is None or any(map(statement.is_about_action, info.actions))
        if is_carried or is_attestation_key(name):
            continue
        yield Finding(statement, f"requests for the actions of this statement never have the condition key {name}")


def _actions_without_document(statement: Statement) -> Iterator[Finding]:
    conditions = [condition for condition in statement.conditions if is_attestation_key(condition.key)]
    if not conditions:
        return
    applies = all(holds(condition, None) for condition in conditions)
    if statement.effect is Effect.DENY:
        what = "so this Deny always applies to {them}" if applies else "so this Deny never applies to {them}"
    else:
        what = "and the condition does not restrict {them}" if applies else "so this Allow never allows {them}"
    for pattern, actions in _without_document(statement):
        is_one = len(actions) == 1
        names = ", ".join(actions[:_NAMED_ACTIONS]) + (" and others" if len(actions) > _NAMED_ACTIONS else "")
        covers = "" if pattern in actions else f"{pattern} covers "
        verb = "takes" if is_one and not covers else "take" if not covers else "which takes" if is_one else "which take"
        yield Finding(statement, f"{covers}{names}{',' if covers else ''} {verb} no attestation document, "
                      + what.format(them="it" if is_one else "them"))  # fmt: skip


def _without_document(statement: Statement) -> Iterator[tuple[str, list[str]]]:
    """Yield each action pattern of a statement that covers actions without a document, with these actions."""
    if statement.is_not_action:
        covered = [action for action in _NO_DOCUMENT_ACTIONS if statement.is_about_action(action)]
        if covered:
            yield "NotAction", covered
        return
    named: set[str] = set()
    for pattern in statement.actions:
        covered = [action for action in _NO_DOCUMENT_ACTIONS if wildcard_match(pattern, action, ignore_case=True)]
        covered = [action for action in covered if action not in named]
        named.update(covered)
        if covered:
            yield pattern, covered


def _principals(statement: Statement) -> Iterator[Finding]:
    for name in statement.principals:
        if name.kind is PrincipalKind.DELETED:
            yield Finding(statement, f"{name} is the id of a deleted role or user, so it names nobody")
    if statement.is_not_principal and statement.effect is Effect.DENY:
        yield Finding(
            statement,
            "a Deny with NotPrincipal certainly excludes the session of a role only if it names session, role and"
            " account; AWS recommends a condition on aws:PrincipalArn instead",
        )


def _resources(statement: Statement) -> Iterator[Finding]:
    if statement.is_not_resource or EVERY_RESOURCE in statement.resources:
        return
    yield Finding(
        statement, f"Resource matches only if it is {EVERY_RESOURCE} or the ARN of the key itself (--key-arn)"
    )
