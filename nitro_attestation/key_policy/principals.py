"""Principals of key policies: how statements name them, and whether a statement names a caller (pure).

Source: IAM user guide, "AWS JSON policy elements: Principal" and "AWS JSON policy elements: NotPrincipal".
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass

from nitro_attestation.errors import PolicyError
from nitro_attestation.quoting import quoted

ANYONE = "*"
AWS = "AWS"
PRINCIPAL_TYPES = (AWS, "Service", "Federated", "CanonicalUser")

_ACCOUNT = re.compile(r"(?:arn:aws[a-z-]*:iam::)?(?P<account>[0-9]{12})(?P<root>:root)?", re.ASCII)
_ARN = re.compile(
    r"arn:aws[a-z-]*:(iam::(?P<owner>[0-9]{12}):(?P<kind>user|role)/[\w+=,.@/-]+"
    r"|sts::(?P<session_owner>[0-9]{12}):(?P<session>assumed-role/[\w+=,.@-]+|federated-user)/[\w+=,.@-]+)",
    re.ASCII,
)
_UNIQUE_ID = re.compile(r"(A3T|AGPA|AIDA|AIPA|ANPA|ANVA|AROA|ASCA)[A-Z0-9]{8,124}", re.ASCII)


class PrincipalKind(enum.Enum):
    """What a name in a statement's Principal refers to."""

    ANYONE = enum.auto()
    ACCOUNT = enum.auto()
    ROLE = enum.auto()
    USER = enum.auto()
    SESSION = enum.auto()
    """One session of a role."""
    FEDERATED_USER = enum.auto()
    """A session from GetFederationToken."""
    DELETED = enum.auto()
    """A deleted role or user, for which AWS shows the unique id. It matches nobody."""
    SERVICE = enum.auto()
    FEDERATED = enum.auto()
    """Anyone who signed in with an identity provider."""
    NOBODY = enum.auto()
    """A name that KMS does not accept."""


class PrincipalMatch(enum.Enum):
    """Whether a statement is about a caller."""

    NO = enum.auto()
    DIRECT = enum.auto()
    """It names the caller, the caller's role, or everyone."""
    ACCOUNT = enum.auto()
    """It names the caller's account: an Allow then leaves the decision to the account's IAM policies."""
    UNSETTLED = enum.auto()
    """NotPrincipal names only some of session, role and account: AWS says that it may then not exclude the caller."""


@dataclass(frozen=True)
class Principal:
    """Who makes a request.

    Attributes:
        arn: as KMS names it in errors; for a role, the ARN of its session, ``...:assumed-role/ROLE/SESSION``.
        account_id: 12 digits.
        role_arn: of the session's role; None if it is not a session.
    """

    arn: str
    account_id: str
    role_arn: str | None = None


@dataclass(frozen=True)
class PrincipalName:
    """One name in a statement's Principal or NotPrincipal.

    Attributes:
        text: as in the policy.
        kind: what it refers to.
        account_id: of the account, role, user or session; otherwise empty.
        role_arn: of the session's role, without the role's path; None if it is not a session.
    """

    text: str
    kind: PrincipalKind
    account_id: str = ""
    role_arn: str | None = None

    def __str__(self) -> str:
        return self.text


def parse_principal_name(principal_type: str, text: str) -> PrincipalName:
    """Parse the name of a principal.

    Raises:
        PolicyError: KMS does not accept such a principal.
    """
    if principal_type == "Service":
        return PrincipalName(text, PrincipalKind.SERVICE)
    if principal_type == "Federated":
        return PrincipalName(text, PrincipalKind.FEDERATED)
    if principal_type == AWS:
        if text == ANYONE:
            return PrincipalName(text, PrincipalKind.ANYONE)
        if (match := _ACCOUNT.fullmatch(text)) and text.startswith("arn:") == bool(match["root"]):
            return PrincipalName(text, PrincipalKind.ACCOUNT, match["account"])
        if (match := _ARN.fullmatch(text)) is not None:
            return _named_identity(text, match)
        if _UNIQUE_ID.fullmatch(text):
            return PrincipalName(text, PrincipalKind.DELETED)
    hint = "a principal cannot have wildcards: use a condition on aws:PrincipalArn" if "*" in text else None
    raise PolicyError(f"Principal {principal_type}: not a valid principal: {quoted(text, 128)}", hint=hint)


def match_principals(names: Iterable[PrincipalName], principal: Principal) -> PrincipalMatch:
    """Return whether, and how, a Principal names a caller."""
    matches = {_match(name, principal) for name in names}
    wanted = (PrincipalMatch.DIRECT, PrincipalMatch.ACCOUNT)
    return next((match for match in wanted if match in matches), PrincipalMatch.NO)


def match_not_principals(names: Iterable[PrincipalName], principal: Principal) -> PrincipalMatch:
    """Return whether a NotPrincipal excludes a caller (NO), or its statement is about the caller (DIRECT).

    AWS requires the ARNs of session, role and account together, because it checks a request for each of them. If only
    some are present, AWS's documentation says that the statement might still be about the caller: UNSETTLED.
    """
    names = tuple(names)
    if any(name.kind is PrincipalKind.ANYONE for name in names):
        return PrincipalMatch.NO
    texts = {name.text for name in names}
    accounts = {name.account_id for name in names if name.kind is PrincipalKind.ACCOUNT}
    listed = [principal.account_id in accounts, principal.arn in texts]
    if principal.role_arn is not None:
        listed.append(principal.role_arn in texts)
    if principal.arn == principal.role_arn:
        listed.append(False)  # calls are made as a session of a role, and this session is unknown
    if all(listed):
        return PrincipalMatch.NO
    return PrincipalMatch.UNSETTLED if any(listed) else PrincipalMatch.DIRECT


def _match(name: PrincipalName, principal: Principal) -> PrincipalMatch:
    if name.kind is PrincipalKind.ANYONE or name.text in (principal.arn, principal.role_arn):
        return PrincipalMatch.DIRECT
    if name.kind is PrincipalKind.ACCOUNT and name.account_id == principal.account_id:
        return PrincipalMatch.ACCOUNT
    return PrincipalMatch.NO


def _named_identity(text: str, match: re.Match[str]) -> PrincipalName:
    if match["owner"]:
        kind = PrincipalKind.ROLE if match["kind"] == "role" else PrincipalKind.USER
        return PrincipalName(text, kind, match["owner"])
    if match["session"] == "federated-user":
        return PrincipalName(text, PrincipalKind.FEDERATED_USER, match["session_owner"])
    partition, role = text.split(":")[1], match["session"].partition("/")[2]
    role_arn = f"arn:{partition}:iam::{match['session_owner']}:role/{role}"
    return PrincipalName(text, PrincipalKind.SESSION, match["session_owner"], role_arn)
