"""Grants: what each lets its grantee do with a key, and with which encryption context.

Source: KMS developer guide, "Grants in AWS KMS"; KMS API reference, CreateGrant and GrantConstraints.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from nitro_attestation.key_policy.principals import (
    AWS,
    Principal,
    PrincipalMatch,
    match_principals,
    parse_principal_name,
)

CREATE_GRANT = "CreateGrant"
RETIRE_GRANT = "RetireGrant"
WITHOUT_CONTEXT = frozenset({CREATE_GRANT, RETIRE_GRANT, "DescribeKey", "GetPublicKey"})
"""Operations that no constraint limits, because they have no encryption context."""


@dataclass(frozen=True)
class GrantConstraint:
    """What the encryption context of a request must be like.

    Attributes:
        context: names and values; case counts in both.
        is_exact: whether the request may have no other names.
    """

    context: Mapping[str, str]
    is_exact: bool

    def allows(self, context: Mapping[str, str]) -> bool:
        """Return whether a request with an encryption context fits."""
        if self.is_exact:
            return dict(context) == dict(self.context)
        return self.context.items() <= context.items()

    def allows_constraint(self, other: GrantConstraint | None) -> bool:
        """Return whether everything that fits another constraint fits this one."""
        if other is None:
            return False
        return self.allows(other.context) and (other.is_exact or not self.is_exact)


@dataclass(eq=False)
class Grant:
    """One grant. Its ``repr`` shows no token.

    Attributes:
        grant_id: 64 hexadecimal digits.
        grantee: ARN of the principal that may do something.
        operations: what it may do, by the names of GrantOperation.
        issuer: ARN of the account in which it was created.
        created_at: when it was created.
        effective_at: from when on it counts without a token.
        constraint: what the encryption context must be like, or None.
        retiring: ARN of the principal that may retire it, or None.
        name: to find it again, or empty.
        tokens: each of them makes it count at once.
    """

    grantee: str
    operations: tuple[str, ...]
    issuer: str
    created_at: datetime
    effective_at: datetime
    constraint: GrantConstraint | None = None
    retiring: str | None = None
    name: str = ""
    grant_id: str = field(default_factory=lambda: secrets.token_hex(32))
    tokens: list[str] = field(default_factory=list, repr=False)

    def new_token(self) -> str:
        """Return a new token; those from before stay valid."""
        token = secrets.token_urlsafe(120)
        self.tokens.append(token)
        return token

    def allows_grant(self, other: Grant) -> bool:
        """Return whether a grantee with CreateGrant may create another grant: it may allow no more than this one."""
        return set(other.operations) <= set(self.operations) and (
            self.constraint is None or self.constraint.allows_constraint(other.constraint)
        )

    def is_same_as(self, other: Grant) -> bool:
        """Return whether two requests for grants have the same name and say the same."""
        return bool(self.name) and _content(self) == _content(other)


def match_grant(
    grant: Grant,
    principal: Principal,
    operation: str,
    encryption_context: Mapping[str, str],
    *,
    tokens: Collection[str],
    now: datetime,
) -> PrincipalMatch:
    """Return whether a grant allows a request, and whether directly or by the grantee's account."""
    if operation not in grant.operations:
        return PrincipalMatch.NO
    if now < grant.effective_at and not set(tokens) & set(grant.tokens):
        return PrincipalMatch.NO
    constraint = None if operation in WITHOUT_CONTEXT else grant.constraint
    if constraint is not None and not constraint.allows(encryption_context):
        return PrincipalMatch.NO
    return _match(grant.grantee, principal)


def may_retire(grant: Grant, principal: Principal) -> bool:
    """Return whether a principal may retire a grant."""
    retirers = [grant.retiring] if grant.retiring is not None else []
    retirers += [grant.grantee] if RETIRE_GRANT in grant.operations else []
    return any(_match(each, principal) is PrincipalMatch.DIRECT for each in retirers)


class Grants:
    """The grants of one key. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._grants: list[Grant] = []

    def add(self, grant: Grant) -> Grant:
        """Add a grant and return it; return the one that is there if it has the same name and says the same."""
        with self._lock:
            known = next((each for each in self._grants if each.is_same_as(grant)), None)
            if known is None:
                self._grants.append(grant)
            return known or grant

    def list(self) -> list[Grant]:
        """Return all grants, oldest first."""
        with self._lock:
            return list(self._grants)

    def find(self, grant_id: str) -> Grant | None:
        """Return the grant with an id, or None."""
        return next((grant for grant in self.list() if grant.grant_id == grant_id), None)

    def find_token(self, token: str) -> Grant | None:
        """Return the grant with a token, or None."""
        return next((grant for grant in self.list() if token in grant.tokens), None)

    def remove(self, grant: Grant) -> None:
        """Remove a grant, if it is there."""
        with self._lock:
            self._grants = [each for each in self._grants if each is not grant]


def grant_context(grant: Grant | None) -> dict[str, str | tuple[str, ...]]:
    """Return the condition keys of a request that say which grant it creates."""
    if grant is None:
        return {}
    context: dict[str, str | tuple[str, ...]] = {
        "kms:GrantOperations": grant.operations,
        "kms:GranteePrincipal": grant.grantee,
        "kms:GrantIsForAWSResource": "false",
    }
    if grant.retiring is not None:
        context["kms:RetiringPrincipal"] = grant.retiring
    if grant.constraint is not None:
        kind = "EncryptionContextEquals" if grant.constraint.is_exact else "EncryptionContextSubset"
        context["kms:GrantConstraintType"] = kind
    return context


def _match(arn: str, principal: Principal) -> PrincipalMatch:
    return match_principals([parse_principal_name(AWS, arn)], principal)


def _content(grant: Grant) -> tuple[object, ...]:
    return grant.name, grant.grantee, set(grant.operations), grant.constraint, grant.retiring, grant.issuer
