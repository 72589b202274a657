"""Who could make requests besides the enclave, and what their attestation documents could contain (pure).

Nobody can construct an image whose PCR0 is a given digest: that takes 2 to the 384th attempts. So another image can
have any digest except those that some condition names in full, and for a pattern it can have any digest that matches.
Another image can share PCR1 (kernel and boot ramdisk) or PCR2 (the application's files) with this enclave, but not
both. PCR8 can be anything except the certificates that the policy names, which need their private key. All other PCRs
can be made equal: another image on the same instance has its PCR3 and PCR4, and can extend PCR16 and above with
anything.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nitro_attestation.document.payload import DEBUG_PCRS, PCR_COUNT
from nitro_attestation.key_policy.conditions.keys import PRINCIPAL_ARN_KEY
from nitro_attestation.key_policy.model import KeyPolicy, Statement
from nitro_attestation.key_policy.principals import PrincipalKind, PrincipalName
from nitro_attestation.key_policy.symbolic.candidates import DIGEST_DIGITS
from nitro_attestation.key_policy.symbolic.domains import Domain, known
from nitro_attestation.key_policy.symbolic.requests import Requester, RequesterKind, canonical_key
from nitro_attestation.measurements import IMAGE_PCR, SIGNER_PCR

KERNEL_PCR, APPLICATION_PCR = 1, 2
IMAGE_PCRS = (IMAGE_PCR, KERNEL_PCR, APPLICATION_PCR, SIGNER_PCR)
"""The PCRs that can distinguish images."""
ZEROS = "0" * DIGEST_DIGITS
_ALWAYS_LOCKED = 16
"""PCRs below this one are in every document."""
_DIGEST = re.compile(rf"[0-9a-fA-F]{{{DIGEST_DIGITS}}}", re.ASCII)
_ACCOUNT = re.compile(r"(?<![0-9])[0-9]{12}(?![0-9])", re.ASCII)
_ACCOUNT_KEYS = (PRINCIPAL_ARN_KEY.lower(), "aws:principalaccount", "kms:calleraccount")
_IDENTITY_KINDS = (RequesterKind.ROLE, RequesterKind.USER, RequesterKind.ROOT, RequesterKind.FEDERATED_USER)
_ANY_DIGEST = Domain(may_be_absent=False, is_digest=True)

PcrDomains = Mapping[int, Domain]


class DocumentKind(enum.Enum):
    """The kind of document that others can present."""

    NONE = enum.auto()
    NITRO_TPM = enum.auto()
    """From an EC2 instance with a NitroTPM, not from an enclave."""
    ANOTHER_IMAGE = enum.auto()
    """From an image that no condition names."""
    NAMED_IMAGE = enum.auto()
    """From another image that a condition names by a full digest."""
    DEBUG_MODE = enum.auto()
    SAME_SIGNER = enum.auto()
    """From another image that is signed with this image's certificate."""


@dataclass(frozen=True)
class OtherDocument:
    """A document that others can present: the domains of its PCRs by index, and one domain for NitroTPM PCRs."""

    kind: DocumentKind
    pcrs: PcrDomains
    tpm_pcrs: Domain


@dataclass(frozen=True)
class NamedDigests:
    """The digests that the conditions of a policy name in full, by PCR.

    Attributes:
        by_pcr: all of them, including those of this enclave.
        listed_together: those in one list with this enclave's, as during a rolling update.
    """

    by_pcr: Mapping[int, frozenset[str]]
    listed_together: Mapping[int, frozenset[str]]


def named_digests(policy: KeyPolicy, pcrs: Mapping[int, bytes]) -> NamedDigests:
    """Return the digests that a policy names in full, and those listed together with this enclave's.

    Args:
        policy: where to look.
        pcrs: of this enclave.
    """
    found = {index: {pcrs[index].hex()} if index in pcrs else set() for index in IMAGE_PCRS}
    listed_together: dict[int, set[str]] = {index: set() for index in IMAGE_PCRS}
    keys = {f"kms:recipientattestation:pcr{index}": index for index in IMAGE_PCRS}
    for statement in policy.statements:
        for condition in statement.conditions:
            index = keys.get(canonical_key(condition.key))
            if index is None:
                continue
            digests = {value.lower() for value in condition.values if _DIGEST.fullmatch(value)}
            found[index] |= digests
            if index in pcrs and pcrs[index].hex() in digests:
                listed_together[index] |= digests
    return NamedDigests(
        {index: frozenset(digests) for index, digests in found.items()},
        {index: frozenset(digests) for index, digests in listed_together.items()},
    )


def other_documents(named: NamedDigests, pcrs: Mapping[int, bytes]) -> Iterator[OtherDocument]:
    """Yield the documents that others can present, the easiest to obtain first.

    Args:
        named: the digests that the policy names.
        pcrs: of this enclave.
    """
    absent = Domain(choices=(None,))
    yield OtherDocument(DocumentKind.NONE, {}, absent)
    yield OtherDocument(DocumentKind.NITRO_TPM, {}, _ANY_DIGEST)
    free = {index: _free_pcr(index) for index in range(PCR_COUNT)}
    unnamed = {index: Domain(may_be_absent=False, is_digest=True, excluded=named.by_pcr[index]) for index in IMAGE_PCRS}
    signer = Domain(may_be_absent=False, is_digest=True, excluded=named.by_pcr[SIGNER_PCR] - {ZEROS})
    others = free | {IMAGE_PCR: unnamed[IMAGE_PCR], SIGNER_PCR: signer}
    for part in (APPLICATION_PCR, KERNEL_PCR):
        yield OtherDocument(DocumentKind.ANOTHER_IMAGE, others | {part: unnamed[part]}, absent)
    debug = dict.fromkeys((*DEBUG_PCRS, SIGNER_PCR), known(ZEROS))
    yield OtherDocument(DocumentKind.DEBUG_MODE, free | debug, absent)
    for index, rest in ((IMAGE_PCR, free), (SIGNER_PCR, others)):
        if domain := _named(named, index, pcrs):
            yield OtherDocument(DocumentKind.NAMED_IMAGE, rest | {index: domain}, absent)
    for one, other in ((KERNEL_PCR, APPLICATION_PCR), (APPLICATION_PCR, KERNEL_PCR)):
        if (domain := _named(named, one, pcrs)) and named.by_pcr[other]:
            both = {one: domain, other: Domain(choices=tuple((digest,) for digest in sorted(named.by_pcr[other])))}
            yield OtherDocument(DocumentKind.NAMED_IMAGE, others | both, absent)
    if any(pcrs.get(SIGNER_PCR, b"")):
        same = {SIGNER_PCR: known(pcrs[SIGNER_PCR].hex()), APPLICATION_PCR: unnamed[APPLICATION_PCR]}
        yield OtherDocument(DocumentKind.SAME_SIGNER, others | same, absent)


def requesters_named(name: PrincipalName, accounts: tuple[str, ...]) -> Iterator[Requester]:
    """Yield the requesters that a name in a statement's Principal refers to, one of each kind that matters.

    Args:
        name: the name.
        accounts: those that the policy names, and one that it does not name.
    """
    match name.kind:
        case PrincipalKind.ANYONE:
            for account in accounts:
                yield from (Requester(kind, account) for kind in _IDENTITY_KINDS)
            yield Requester(RequesterKind.SERVICE)
        case PrincipalKind.ACCOUNT:
            yield from (Requester(kind, name.account_id) for kind in _IDENTITY_KINDS)
        case PrincipalKind.ROLE:
            yield Requester(RequesterKind.ROLE, name.account_id, name.text)
        case PrincipalKind.USER:
            yield Requester(RequesterKind.USER, name.account_id, name.text)
        case PrincipalKind.SESSION:
            yield Requester(RequesterKind.ROLE, name.account_id, name.role_arn, name.text)
        case PrincipalKind.FEDERATED_USER:
            yield Requester(RequesterKind.FEDERATED_USER, name.account_id, name.text)
        case PrincipalKind.SERVICE:
            yield Requester(RequesterKind.SERVICE, arn=name.text)
        case PrincipalKind.FEDERATED:
            yield Requester(RequesterKind.FEDERATED, arn=name.text)


def names_of(statement: Statement) -> tuple[PrincipalName, ...]:
    """Return the names of the principals that a statement can be about; for NotPrincipal, everyone."""
    if statement.is_not_principal or (statement.problems and not statement.principals):
        return (PrincipalName("*", PrincipalKind.ANYONE),)
    return statement.principals


def accounts_of(policy: KeyPolicy) -> tuple[str, ...]:
    """Return the accounts that a policy names, and one that it does not name."""
    found: dict[str, None] = {}
    for statement in policy.statements:
        found |= dict.fromkeys(name.account_id for name in statement.principals if name.account_id)
        for condition in statement.conditions:
            if condition.key.lower() in _ACCOUNT_KEYS:
                found |= dict.fromkeys(match for value in condition.values for match in _ACCOUNT.findall(value))
    stranger = next(account for account in (f"{digit}" * 12 for digit in range(9, 0, -1)) if account not in found)
    return (*found, stranger)


def _free_pcr(index: int) -> Domain:
    return Domain(may_be_absent=index >= _ALWAYS_LOCKED, is_digest=True)


def _named(named: NamedDigests, index: int, pcrs: Mapping[int, bytes]) -> Domain | None:
    own = pcrs[index].hex() if index in pcrs else ""
    digests = sorted(named.by_pcr[index] - {own, ZEROS})
    return Domain(choices=tuple((digest,) for digest in digests)) if digests else None
