"""Names the ways around the attestation in a key policy: who could use the key without the enclave it names (pure).

``symbolic.ways`` finds them. Here they are put together by statement, and said in words.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from nitro_attestation.key_policy.conditions.condition import Condition, holds
from nitro_attestation.key_policy.conditions.keys import IMAGE_KEY, is_attestation_key, is_wrong_key
from nitro_attestation.key_policy.conditions.operators import parse_operator
from nitro_attestation.key_policy.context import pcr_key, requester_of
from nitro_attestation.key_policy.model import KeyPolicy, Statement
from nitro_attestation.key_policy.principals import ANYONE, Principal
from nitro_attestation.key_policy.symbolic.domains import DIGEST_BITS, Literal, open_bits
from nitro_attestation.key_policy.symbolic.others import APPLICATION_PCR, IMAGE_PCRS, KERNEL_PCR, DocumentKind
from nitro_attestation.key_policy.symbolic.patterns import TooComplexError
from nitro_attestation.key_policy.symbolic.requests import canonical_key
from nitro_attestation.key_policy.symbolic.ways import CREATE_GRANT, RE_ENCRYPT, Way, WaySearch
from nitro_attestation.measurements import IMAGE_PCR, SIGNER_PCR

_OTHER_WAYS = {
    RE_ENCRYPT: f"{RE_ENCRYPT} takes no document, and puts the ciphertext under another key",
    CREATE_GRANT: "a grant can allow {granted}, and cannot ask for a document",
}
_ALL_BITS_OPEN = f"{DIGEST_BITS} of {DIGEST_BITS} bits are open"
_PARTS = {KERNEL_PCR: "the kernel and boot ramdisk", APPLICATION_PCR: "the application's files"}
_ACCOUNT = re.compile(r"(?:arn:[^:]+:iam::)?([0-9]{12})(?::root)?", re.ASCII)


class GapKind(enum.StrEnum):
    """What leads around the attestation."""

    NO_DOCUMENT = "without an attestation document"
    NITRO_TPM = "from an instance with a NitroTPM, which is no enclave"
    ANY_IMAGE = "from any enclave image"
    SEVERAL_IMAGES = "from other enclave images"
    NAMED_IMAGE = "from another enclave image that the policy names"
    DEBUG_MODE = "from an enclave in debug mode"
    OWN_POLICY = "and replace this policy itself"


_KINDS = {
    DocumentKind.NONE: GapKind.NO_DOCUMENT,
    DocumentKind.NITRO_TPM: GapKind.NITRO_TPM,
    DocumentKind.NAMED_IMAGE: GapKind.NAMED_IMAGE,
    DocumentKind.DEBUG_MODE: GapKind.DEBUG_MODE,
}


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
        open_bits: how many bits of a digest that should name one image are open, of 384; None where it is not about
            images.
    """

    statement: Statement
    kind: GapKind
    actions: tuple[str, ...]
    principals: tuple[str, ...]
    reasons: tuple[str, ...]
    provisos: tuple[str, ...]
    open_bits: float | None = None

    def __str__(self) -> str:
        where = f" (where {', '.join(self.provisos)})" if self.provisos else ""
        who = ", ".join(map(_described, self.principals))
        return (
            f"{self.statement.label} lets {who} call {', '.join(self.actions)} {self.kind}{where}:"
            f" {'; '.join(self.reasons)}"
        )


@dataclass(frozen=True)
class Access:
    """Who can use a key besides the enclave.

    Attributes:
        gaps: ways around the attestation, in the order of the statements.
        notes: what else the policy lets in on purpose: images that it names besides this one, or anyone who signs
            images.
    """

    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]


def find_gaps(
    policy: KeyPolicy,
    *,
    operations: Sequence[str],
    caller: Principal,
    pcrs: Mapping[int, bytes],
    key_arn: str | None = None,
    at: datetime | None = None,
) -> tuple[Gap, ...]:
    """Return the ways around the attestation, in the order of the statements.

    Does not know IAM policies and grants that exist, and takes administrators for trusted: who may change the policy
    can open it. ``find_access`` says more.

    Args:
        policy: what to search.
        operations: of ATTESTED_OPERATIONS; Decrypt is looked at in any case.
        caller: whose credentials the enclave uses.
        pcrs: of the right enclave.
        key_arn: of the key; None takes every Resource that can be a key's for it.
        at: the present time, so that what is over does not count; None counts any time.
    """
    return find_access(policy, operations=operations, caller=caller, pcrs=pcrs, key_arn=key_arn, at=at).gaps


def find_access(
    policy: KeyPolicy,
    *,
    operations: Sequence[str],
    caller: Principal,
    pcrs: Mapping[int, bytes],
    key_arn: str | None = None,
    at: datetime | None = None,
) -> Access:
    """Return who can use the key besides the enclave. Arguments as for ``find_gaps``."""
    search = WaySearch(policy, operations=operations, pcrs=pcrs, key_arn=key_arn, at=_seconds(at))
    gaps: list[Gap] = []
    notes: dict[str, None] = {}
    for statement in search.allows:
        by_kind: dict[tuple[GapKind, tuple[str, ...]], list[Way]] = {}
        for way in search.ways(statement):
            note = _note(way, search.named.beside)
            if note is not None:
                notes[note] = None
            else:
                kind = _kind(way)
                by_kind.setdefault((kind, _image_reasons(way, kind)), []).append(way)
        gaps += [_gap(statement, kind, ways, reasons) for (kind, reasons), ways in by_kind.items()]
        own = list(search.own_ways(statement, requester_of(caller)))
        if own:
            gaps.append(_gap(statement, GapKind.OWN_POLICY, own, ()))
    return Access(tuple(gaps), tuple(notes))


def _seconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())


def _kind(way: Way) -> GapKind:
    if way.document in _KINDS:
        return _KINDS[way.document]
    return GapKind.SEVERAL_IMAGES if _image_literals(way) else GapKind.ANY_IMAGE


def _note(way: Way, beside: Mapping[int, frozenset[str]]) -> str | None:
    """Return what to say of a way that the policy opens on purpose, or None where it is a gap."""
    label = way.statement.label
    if way.document is DocumentKind.SAME_SIGNER:
        return (
            f"{label} takes PCR{SIGNER_PCR} for the image, and so every image that is signed with this certificate: a"
            f" condition on PCR{IMAGE_PCR} ({IMAGE_KEY}) would take this one alone"
        )
    if way.document is not DocumentKind.NAMED_IMAGE or way.witness is None:
        return None
    shown = {index: way.witness.get(canonical_key(pcr_key(index))) for index in IMAGE_PCRS}
    digests = {index: value[0] for index, value in shown.items() if value and _image_literals(way, index)}
    if not digests or not all(digest in beside[index] for index, digest in digests.items()):
        return None
    images = " and ".join(f"PCR{index} {digest}" for index, digest in digests.items())
    return f"{label} takes another image too, which it names besides this one: {images}"


def _gap(statement: Statement, kind: GapKind, ways: list[Way], image_reasons: tuple[str, ...]) -> Gap:
    is_about_images = kind in (GapKind.ANY_IMAGE, GapKind.SEVERAL_IMAGES)
    return Gap(
        statement=statement,
        kind=kind,
        actions=tuple(dict.fromkeys(way.action for way in ways)),
        principals=tuple(dict.fromkeys(way.name.text for way in ways)),
        reasons=tuple(dict.fromkeys((*image_reasons, *_reasons(statement, kind, ways)))),
        provisos=tuple(str(condition) for condition in statement.conditions if not is_attestation_key(condition.key)),
        open_bits=min(map(_open_bits, ways)) if is_about_images else None,
    )


def _reasons(statement: Statement, kind: GapKind, ways: list[Way]) -> Iterable[str]:
    if any(way.witness is None for way in ways):
        yield "it has too many patterns to be sure that there is no such way"
    yield from (f"it cannot be evaluated: {problem}" for problem in statement.problems)
    conditions = [condition for condition in statement.conditions if is_attestation_key(condition.key)]
    attested = [way for way in ways if way.action not in _OTHER_WAYS]
    match kind:
        case GapKind.NO_DOCUMENT if attested and conditions:
            yield from (_holds_without_document(each) for each in conditions if holds(each, None))
        case GapKind.NO_DOCUMENT if attested:
            yield "it has no condition on the attestation"
        case GapKind.NITRO_TPM:
            yield "its conditions hold for measurements of an instance"
        case GapKind.DEBUG_MODE:
            yield "it takes the zeros that every enclave in debug mode shows"
        case GapKind.OWN_POLICY:
            yield "who uses the key must not administer it"
    for way in ways:
        if way.action in _OTHER_WAYS:
            yield _OTHER_WAYS[way.action].format(granted=way.granted)


def _holds_without_document(condition: Condition) -> str:
    text = f"{condition.operator} {condition.key} holds where there is no such key"
    return f"{text}, and KMS has none of that name" if is_wrong_key(condition.key) else text


def _image_literals(way: Way, *indexes: int) -> list[Literal]:
    keys = [canonical_key(pcr_key(index)) for index in indexes or IMAGE_PCRS]
    chosen = [sorted(filter(_is_about_value, way.chosen.get(key, ())), key=str) for key in keys]
    return [literal for literals in chosen if _bits(literals) != DIGEST_BITS for literal in literals]


def _is_about_value(literal: Literal) -> bool:
    parsed = parse_operator(literal.condition.operator)
    return parsed is not None and parsed.comparison is not None


def _image_reasons(way: Way, kind: GapKind) -> tuple[str, ...]:
    """Return what a policy says of the image in vain."""
    if kind is GapKind.ANY_IMAGE:
        return (f"its conditions hold for every image ({_ALL_BITS_OPEN}): compare {IMAGE_KEY}",)
    if kind is GapKind.NAMED_IMAGE and way.witness is not None:
        named = [literal.condition for literal in _image_literals(way) if literal.is_wanted]
        return tuple(f"{condition} is not this image" for condition in named)
    if kind is not GapKind.SEVERAL_IMAGES:
        return ()
    reasons = []
    for index in IMAGE_PCRS:
        literals = _image_literals(way, index)
        if literals:
            left = _bits(literals)
            what = " and ".join(f"{each.condition}{'' if each.is_wanted else ' of a Deny'}" for each in literals)
            number = "some" if left is None else f"{left:.0f}"
            reasons.append(_part(index) if left == 0 else f"{what} leaves {number} of {DIGEST_BITS} bits open")
    return tuple(reasons)


def _part(index: int) -> str:
    other = {KERNEL_PCR: APPLICATION_PCR, APPLICATION_PCR: KERNEL_PCR}.get(index, IMAGE_PCR)
    part, rest = (_PARTS.get(each, "the image") for each in (index, other))
    return (
        f"PCR{index} is compared with a full digest, but it measures {part} only: any image with another PCR{other}"
        f" ({rest}) passes, {_ALL_BITS_OPEN}"
    )


def _open_bits(way: Way) -> float:
    """Return how many bits of the register that is closest to naming the image are open."""
    found = [_bits(literals) for index in IMAGE_PCRS if (literals := _image_literals(way, index))]
    return min([bits for bits in found if bits] or [float(DIGEST_BITS)])


def _bits(literals: Iterable[Literal]) -> float | None:
    """Return how many bits of a register are open, or None where that takes too long to count."""
    try:
        return open_bits(frozenset(literals))
    except TooComplexError:
        return None


def _described(name: str) -> str:
    if name == ANYONE:
        return "anybody"
    account = _ACCOUNT.fullmatch(name)
    return f"whomever the IAM policies of account {account[1]} let" if account else name
