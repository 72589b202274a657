"""Finds ways around the attestation in a key policy: who could use the key without the enclave it names (pure).

Every Allow is tried with requests that the policy should refuse: without a document, with that of another image, and
with that of an enclave in debug mode. A condition on anything else than the attestation and the caller counts as one
that somebody can meet; a Deny closes a gap only where it is certain to apply.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass

from nitro_attestation.document.payload import DEBUG_PCRS
from nitro_attestation.key_policy.conditions import Condition, evaluate_condition
from nitro_attestation.key_policy.context import (
    DECRYPT,
    attestation_context,
    caller_context,
    is_attestation_key,
    parse_caller,
    pcr_index,
)
from nitro_attestation.key_policy.evaluation import PrincipalMatch, is_about_action, match_principal
from nitro_attestation.key_policy.model import ANYONE, Effect, KeyPolicy, Principal, Statement
from nitro_attestation.measurements import IMAGE_PCR, PCR_BYTES, SIGNER_PCR

CREATE_GRANT = "kms:CreateGrant"
_OTHER_WAYS = {
    "kms:ReEncryptFrom": "kms:ReEncryptFrom takes no document, and puts the ciphertext under another key",
    CREATE_GRANT: "a grant can allow decryption, and cannot ask for a document",
}
_SELF_ADMINISTRATION = ("kms:PutKeyPolicy", "kms:ReplicateKey")
_IMAGE_PCRS = (IMAGE_PCR, 2, SIGNER_PCR)
"""What differs from one image to another. PCR1, the kernel, does not: AWS's is in most of them."""
_ANY_DIGEST = bytes(range(PCR_BYTES))
_ACCOUNT = re.compile(r"(?:arn:[^:]+:iam::)?([0-9]{12})(?::root)?", re.ASCII)


class GapKind(enum.StrEnum):
    """What leads around the attestation."""

    NO_DOCUMENT = "without an attestation document"
    ANY_IMAGE = "from any enclave image"
    DEBUG_MODE = "from an enclave in debug mode"
    OWN_POLICY = "and replace this policy itself"


@dataclass(frozen=True)
class Gap:
    """One way around the attestation.

    Attributes:
        statement: the Allow it leads through.
        kind: what kind of way it is.
        actions: what can be called.
        principals: who can call it, as the policy names them.
        reasons: why the statement lets it pass.
        provisos: conditions on other things, which whoever takes this way must meet.
    """

    statement: Statement
    kind: GapKind
    actions: tuple[str, ...]
    principals: tuple[str, ...]
    reasons: tuple[str, ...]
    provisos: tuple[str, ...]

    def __str__(self) -> str:
        where = f" (where {', '.join(self.provisos)})" if self.provisos else ""
        who = ", ".join(map(_described, self.principals))
        return (
            f"{self.statement.label} lets {who} call {', '.join(self.actions)} {self.kind}{where}:"
            f" {'; '.join(self.reasons)}"
        )


def find_gaps(policy: KeyPolicy, *, operation: str, caller: Principal, pcrs: Mapping[int, bytes]) -> tuple[Gap, ...]:
    """Return the ways around the attestation, in the order of the statements.

    Does not know IAM policies and grants, and takes administrators for trusted: who may change the policy can open it.

    Args:
        policy: what to search.
        operation: an operation of ATTESTED_KEY_OPERATIONS; Decrypt is looked at in any case.
        caller: whose credentials the enclave uses.
        pcrs: of the right enclave.
    """
    attested = tuple(dict.fromkeys((f"kms:{operation}", f"kms:{DECRYPT}")))
    probes: tuple[tuple[GapKind, Mapping[int, bytes], tuple[str, ...]], ...] = (
        (GapKind.NO_DOCUMENT, {}, (*attested, *_OTHER_WAYS)),
        (GapKind.ANY_IMAGE, {**pcrs, **dict.fromkeys(_IMAGE_PCRS, _ANY_DIGEST)}, attested),
        (GapKind.DEBUG_MODE, {**pcrs, **dict.fromkeys((*DEBUG_PCRS, SIGNER_PCR), bytes(PCR_BYTES))}, attested),
    )
    search = _Search(policy, attested)
    gaps: list[Gap] = []
    for statement in search.allows:
        found: set[str] = set()
        for kind, probe, actions in probes:
            wanted = [action for action in actions if action not in found]
            ways = search.open_ways(statement, attestation_context(probe), wanted)
            if ways:
                gaps.append(_gap(statement, kind, ways))
                found.update(action for _, action in ways)
        ways = search.open_ways(statement, {}, _SELF_ADMINISTRATION)
        own = [(name, action) for name, action in ways if name in (ANYONE, caller.arn, caller.role_arn)]
        if own:
            gaps.append(_gap(statement, GapKind.OWN_POLICY, own))
    return tuple(gaps)


class _Search:
    """A policy, taken apart into what allows and what denies."""

    def __init__(self, policy: KeyPolicy, attested: tuple[str, ...]) -> None:
        self.allows = [statement for statement in policy.statements if statement.effect is Effect.ALLOW]
        self._denies = [statement for statement in policy.statements if statement.effect is Effect.DENY]
        self._attested = attested

    def open_ways(
        self, statement: Statement, attestation: Mapping[str, str], actions: list[str] | tuple[str, ...]
    ) -> list[tuple[str, str]]:
        """Return each principal and action that this Allow lets pass, and no Deny is certain to stop."""
        return [
            (name, action)
            for name in (*statement.aws_principals, *statement.other_principals)
            for action in actions
            if is_about_action(statement, action) and self._is_open(statement, name, action, attestation)
        ]

    def _is_open(self, statement: Statement, name: str, action: str, attestation: Mapping[str, str]) -> bool:
        if any(_truth(condition, _known(name, attestation)) is False for condition in statement.conditions):
            return False
        if action == CREATE_GRANT:  # nobody knows whom the grant is for
            return not all(self._is_denied(ANYONE, attested, attestation) for attested in self._attested)
        return not self._is_denied(name, action, attestation)

    def _is_denied(self, name: str, action: str, attestation: Mapping[str, str]) -> bool:
        principal, known = _principal(name), _known(name, attestation)
        return any(
            is_about_action(deny, action)
            and ANYONE in deny.resources
            and match_principal(deny, principal) is not PrincipalMatch.NO
            and all(_truth(condition, known) is True for condition in deny.conditions)
            for deny in self._denies
        )


def _truth(condition: Condition, known: Mapping[str, str]) -> bool | None:
    """Return whether a condition holds, or None where that depends on what is not known."""
    if is_attestation_key(condition.key) or condition.key.lower() in known:
        return evaluate_condition(condition, known).holds
    return None


def _known(name: str, attestation: Mapping[str, str]) -> dict[str, str]:
    principal = _principal(name)
    context = caller_context(principal)
    if not principal.account_id:  # anybody, or a service
        context = {"aws:SecureTransport": context["aws:SecureTransport"]}
    elif _ACCOUNT.fullmatch(name):  # anybody of the account
        del context["aws:PrincipalArn"]
    return {key.lower(): value for key, value in {**context, **attestation}.items()}


def _principal(name: str) -> Principal:
    if name.startswith("arn:") and not name.endswith(":root") and ":federated-user/" not in name:
        return parse_caller(name)
    account = _ACCOUNT.fullmatch(name)
    return Principal(name, account[1] if account else "")


def _gap(statement: Statement, kind: GapKind, ways: list[tuple[str, str]]) -> Gap:
    actions = tuple(dict.fromkeys(action for _, action in ways))
    return Gap(
        statement=statement,
        kind=kind,
        actions=actions,
        principals=tuple(dict.fromkeys(name for name, _ in ways)),
        reasons=_reasons(statement, kind, actions),
        provisos=tuple(
            f"{condition.operator} {condition.key} {' or '.join(condition.values)}"
            for condition in statement.conditions
            if not is_attestation_key(condition.key)
        ),
    )


def _reasons(statement: Statement, kind: GapKind, actions: tuple[str, ...]) -> tuple[str, ...]:
    conditions = [condition for condition in statement.conditions if is_attestation_key(condition.key)]
    others = tuple(_OTHER_WAYS[action] for action in actions if action in _OTHER_WAYS)
    match kind:
        case GapKind.NO_DOCUMENT if len(others) == len(actions):
            return others
        case GapKind.NO_DOCUMENT if conditions:
            return (*(f"{_holds_without_document(condition)}" for condition in conditions), *others)
        case GapKind.NO_DOCUMENT:
            return ("it has no condition on the attestation", *others)
        case GapKind.ANY_IMAGE:
            return ("its conditions hold for every image: compare kms:RecipientAttestation:ImageSha384",)
        case GapKind.DEBUG_MODE:
            return ("it takes the zeros that every enclave in debug mode shows",)
        case GapKind.OWN_POLICY:
            return ("who uses the key must not administer it",)


def _holds_without_document(condition: Condition) -> str:
    text = f"{condition.operator} {condition.key} holds where there is no such key"
    return text if pcr_index(condition.key) is not None else f"{text}, and KMS has none of that name"


def _described(name: str) -> str:
    if name == ANYONE:
        return "anybody"
    account = _ACCOUNT.fullmatch(name)
    return f"whomever the IAM policies of account {account[1]} let" if account else name
