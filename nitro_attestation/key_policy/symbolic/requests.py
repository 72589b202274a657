"""Models of partly unknown requests to KMS: who makes them, and which values their condition keys can have (pure)."""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from nitro_attestation.key_policy.conditions.keys import (
    ATTESTATION_PREFIX,
    IMAGE_KEY,
    KMS,
    PRINCIPAL_ARN_KEY,
    ConditionKey,
    Presence,
    find_condition_key,
    is_attestation_key,
)
from nitro_attestation.key_policy.conditions.operators import Family
from nitro_attestation.key_policy.symbolic.domains import ABSENT, ANYTHING, Domain, known

SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT"
"""The value of kms:EncryptionAlgorithm for requests that name no algorithm."""
PSEUDO = "#"
"""Prefix of names of other things than condition keys on which a decision can depend."""
RESOURCE = f"{PSEUDO}the ARN of the key"
_IMAGE = IMAGE_KEY.lower()
_ENCRYPTION_CONTEXT = "kms:encryptioncontext"
"""Prefix of both kms:EncryptionContext:NAME and kms:EncryptionContextKeys."""
_PCR0 = f"{ATTESTATION_PREFIX}PCR0".lower()
_PCR = re.compile(re.escape(ATTESTATION_PREFIX.lower()) + "(?P<tpm>nitrotpm)?pcr(?P<index>0|[1-9][0-9]?)")
_KEY_ARN = re.compile(r"arn:[^:]+:kms:(?P<region>[^:]+):(?P<account>[0-9]{12}):key/.+", re.ASCII)
_BOOLEANS = (("true",), ("false",))
_ALL_REQUESTS = {"aws:securetransport": "true", "kms:keyagreementalgorithm": "ECDH"}
_TYPES = {family: family for family in (Family.NUMERIC, Family.DATE, Family.IP_ADDRESS)}
"""Types of values that are distinguished. All others are texts."""
_TIMES: dict[str, Callable[[int], str]] = {
    "aws:currenttime": lambda seconds: f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}",
    "aws:epochtime": str,
}
_OWN_REQUESTS = {
    "kms:encryptionalgorithm": known(SYMMETRIC_DEFAULT),
    "aws:viaawsservice": known("false"),
    "kms:viaservice": ABSENT,
}


class RequesterKind(enum.Enum):
    """The kind of principal that makes a request; the value is that of aws:PrincipalType."""

    ROLE = "AssumedRole"
    USER = "User"
    ROOT = "Account"
    FEDERATED_USER = "FederatedUser"
    SERVICE = "Service"
    FEDERATED = "Federated"


_ARN_PATTERNS = {
    RequesterKind.ROLE: "arn:aws*:iam::{account}:role/?*",
    RequesterKind.USER: "arn:aws*:iam::{account}:user/?*",
    RequesterKind.ROOT: "arn:aws*:iam::{account}:root",
    RequesterKind.FEDERATED_USER: "arn:aws*:sts::{account}:federated-user/?*",
}
_USER_ID_PATTERNS = {RequesterKind.ROLE: "AROA?*:?*", RequesterKind.USER: "AIDA?*"}


@dataclass(frozen=True)
class Requester:
    """Who makes a request.

    Attributes:
        kind: the kind of principal.
        account_id: 12 digits, or None if unknown.
        arn: the value of aws:PrincipalArn, or the name of a service or an identity provider; None if unknown.
        session_arn: of a role's session, or None if unknown.
    """

    kind: RequesterKind
    account_id: str | None = None
    arn: str | None = None
    session_arn: str | None = None

    @property
    def is_identity(self) -> bool:
        """Whether it is a principal of an account and not a service."""
        return self.kind not in (RequesterKind.SERVICE, RequesterKind.FEDERATED)


@dataclass(frozen=True)
class RequestModel:
    """A request: its action, who makes it, and what else is known about it.

    Attributes:
        action: such as ``kms:Decrypt``.
        requester: who makes it.
        pcrs: domains of the PCRs in its attestation document; empty without a document.
        tpm_pcrs: the same for the document of an instance with a NitroTPM.
        key_arn: of the key, or None if unknown.
        given: domains of condition keys that are known for this request, by lower-case name.
        is_own: whether the enclave makes it, which calls KMS directly and not through another AWS service.
        at: when it is made, in seconds since 1970, or None if unknown; others can make requests later.
    """

    action: str
    requester: Requester
    pcrs: Mapping[int, Domain] = field(default_factory=dict)
    tpm_pcrs: Domain = ABSENT
    key_arn: str | None = None
    given: Mapping[str, Domain] = field(default_factory=dict)
    is_own: bool = False
    at: int | None = None

    def domain(self, key: str) -> Domain:
        """Return the domain of a key in the request, given the key's canonical name."""
        if key in self.given:
            return self.given[key]
        if key.startswith(PSEUDO):
            return self._pseudo_domain(key)
        info = find_condition_key(key)
        if info is None:
            return ABSENT if key.startswith(KMS) else ANYTHING
        if info.actions is not None and self.action not in info.actions:
            return ABSENT
        if is_attestation_key(key):
            return self._attestation_domain(key)
        return self._identity_domain(key) or self._request_domain(key, info) or self._general_domain(info)

    def _pseudo_domain(self, key: str) -> Domain:
        if key != RESOURCE:
            return Domain(choices=_BOOLEANS)
        if self.key_arn is None:
            return Domain(may_be_absent=False, pattern="arn:aws*:kms:*:????????????:key/?*")
        return known(self.key_arn)

    def _attestation_domain(self, key: str) -> Domain:
        match = _PCR.fullmatch(key)
        if match is None:  # kms:RecipientAttestation:PCR8:ServiceName, which is hardly documented
            return ANYTHING if self.pcrs else ABSENT
        return self.tpm_pcrs if match["tpm"] else self.pcrs.get(int(match["index"]), ABSENT)

    def _identity_domain(self, key: str) -> Domain | None:
        requester = self.requester
        if requester.kind is RequesterKind.SERVICE:
            return _service_domain(key, requester)
        if key in ("kms:calleraccount", "aws:principalaccount"):
            return None if requester.account_id is None else known(requester.account_id)
        if key == "aws:principalisawsservice":
            return known("false")
        if requester.kind is RequesterKind.FEDERATED:
            return None
        found = _IDENTITY_DOMAINS.get(key)
        return None if found is None else found(requester)

    def _request_domain(self, key: str, info: ConditionKey) -> Domain | None:
        if key in _ALL_REQUESTS:
            return known(_ALL_REQUESTS[key])
        if key in _TIMES and self.at is not None:
            later = Domain(may_be_absent=False, earliest=self.at, family=_TYPES.get(info.family))
            return known(_TIMES[key](self.at)) if self.is_own else later
        if self.is_own and key.startswith(_ENCRYPTION_CONTEXT):
            return ABSENT
        if self.is_own and key in _OWN_REQUESTS:
            return _OWN_REQUESTS[key]
        match = _KEY_ARN.fullmatch(self.key_arn or "")
        group = {"aws:resourceaccount": "account", "aws:requestedregion": "region"}.get(key)
        return known(match[group]) if match and group else None

    def _general_domain(self, info: ConditionKey) -> Domain:
        if info.presence is Presence.NEVER and self.is_own:
            return ABSENT
        is_always_there = info.presence is Presence.ALWAYS
        if info.family is Family.BOOLEAN:
            return Domain(choices=_BOOLEANS if is_always_there else (None, *_BOOLEANS))
        return Domain(
            may_be_absent=not is_always_there, is_multivalued=info.is_multivalued, family=_TYPES.get(info.family)
        )


@functools.lru_cache(maxsize=4096)
def canonical_key(name: str) -> str:
    """Return the canonical name of a condition key: in lower case, and with PCR0 for ImageSha384."""
    lower = name if name.startswith(PSEUDO) else name.lower()
    return _PCR0 if lower == _IMAGE else lower


def pcr_domains(pcrs: Mapping[int, bytes]) -> dict[int, Domain]:
    """Return the domains of PCRs whose values are known."""
    return {index: known(value.hex()) for index, value in pcrs.items()}


def _service_domain(key: str, requester: Requester) -> Domain | None:
    if key == "aws:principalisawsservice":
        return known("true")
    if key == "aws:principalservicename" and requester.arn is not None:
        return known(requester.arn)
    return ABSENT if key in (PRINCIPAL_ARN_KEY.lower(), "aws:username") else None


def _arn_domain(requester: Requester) -> Domain:
    if requester.arn is not None:
        return known(requester.arn)
    pattern = _ARN_PATTERNS[requester.kind].format(account=requester.account_id or "????????????")
    return Domain(may_be_absent=False, pattern=pattern)


def _user_id_domain(requester: Requester) -> Domain:
    if requester.kind is RequesterKind.ROOT and requester.account_id:
        return known(requester.account_id)
    if requester.kind is RequesterKind.ROLE and requester.session_arn:
        return Domain(may_be_absent=False, pattern=f"AROA?*:{requester.session_arn.rpartition('/')[2]}")
    return Domain(may_be_absent=False, pattern=_USER_ID_PATTERNS.get(requester.kind))


def _user_name_domain(requester: Requester) -> Domain:
    if requester.kind is not RequesterKind.USER:
        return ABSENT
    return known(requester.arn.rpartition("/")[2]) if requester.arn else Domain(may_be_absent=False)


_IDENTITY_DOMAINS: dict[str, Callable[[Requester], Domain | None]] = {
    "aws:principalarn": _arn_domain,
    "aws:principaltype": lambda requester: known(requester.kind.value),
    "aws:userid": _user_id_domain,
    "aws:username": _user_name_domain,
    "aws:tokenissuetime": lambda requester: (
        Domain(may_be_absent=False) if requester.kind is RequesterKind.ROLE else None
    ),
}
