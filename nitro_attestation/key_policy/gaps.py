"""Report ways around the attestation in a key policy: who could use the key without the enclave it names (pure).

``symbolic.ways`` finds them. This module groups them by statement and describes them in words.
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
    RE_ENCRYPT: f"{RE_ENCRYPT} takes no document and re-encrypts the ciphertext under another key",
    CREATE_GRANT: "a grant can allow {granted} and cannot require a document",
}
_ALL_BITS_OPEN = f"{DIGEST_BITS} of {DIGEST_BITS} bits are open"
_PARTS = {KERNEL_PCR: "the kernel and boot ramdisk", APPLICATION_PCR: "the application's files"}
_ACCOUNT = re.compile(r"(?:arn:[^:]+:iam::)?([0-9]{12})(?::root)?", re.ASCII)


class GapKind(enum.StrEnum):
    """The kind of a way around the attestation."""

    NO_DOCUMENT = "without an attestation document"
    NITRO_TPM = "from an instance with a NitroTPM instead of an enclave"
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
        statement: the Allow that opens it.
        kind: its kind.
        actions: the actions that can be called.
        principals: who can call them, as named in the policy.
        reasons: why the statement allows it.
        provisos: other conditions that such a request must also meet.
        open_bits: how many of the 384 bits of a digest that should identify one image are not checked; None if the gap
            is not about images.
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
        notes: what the policy admits on purpose besides this image: other images that it names, or all images that are
            signed with the same certificate.
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

    Does not consider IAM policies and existing grants, and trusts administrators, who can change the policy.
    ``find_access`` also reports what the policy admits on purpose.

    Args:
        policy: what to search.
        operations: some of ATTESTED_OPERATIONS; Decrypt is always included.
        caller: the principal whose credentials the enclave uses.
        pcrs: of the intended enclave.
        key_arn: of the key; with None, every Resource that can match a key matches.
        at: the current time, to ignore what has expired; None considers any time.
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
            note = _note(way, search.named.listed_together)
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


def _note(way: Way, listed_together: Mapping[int, frozenset[str]]) -> str | None:
    """Return a note about a way that the policy opens on purpose, or None if it is a gap."""
    label = way.statement.label
    if way.document is DocumentKind.SAME_SIGNER:
        return (
            f"{label} identifies the image by PCR{SIGNER_PCR}, so it admits every image that is signed with this"
            f" certificate: a condition on PCR{IMAGE_PCR} ({IMAGE_KEY}) would admit only this one"
        )
    if way.document is not DocumentKind.NAMED_IMAGE or way.witness is None:
        return None
    shown = {index: way.witness.get(canonical_key(pcr_key(index))) for index in IMAGE_PCRS}
    digests = {index: value[0] for index, value in shown.items() if value and _image_literals(way, index)}
    if not digests or not all(digest in listed_together[index] for index, digest in digests.items()):
        return None
    images = " and ".join(f"PCR{index} {digest}" for index, digest in digests.items())
    return f"{label} also admits another image, which it names besides this one: {images}"


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
        yield "it has too many patterns to rule this out"
    yield from (f"it cannot be evaluated: {problem}" for problem in statement.problems)
    conditions = [condition for condition in statement.conditions if is_attestation_key(condition.key)]
    attested = [way for way in ways if way.action not in _OTHER_WAYS]
    match kind:
        case GapKind.NO_DOCUMENT if attested and conditions:
            yield from (_holds_without_document(each) for each in conditions if holds(each, None))
        case GapKind.NO_DOCUMENT if attested:
            yield "it has no condition on the attestation"
        case GapKind.NITRO_TPM:
            yield "its conditions also hold for measurements of an instance"
        case GapKind.DEBUG_MODE:
            yield "it accepts the zeros that every enclave in debug mode shows"
        case GapKind.OWN_POLICY:
            yield "the principal that uses the key must not administer it"
    for way in ways:
        if way.action in _OTHER_WAYS:
            yield _OTHER_WAYS[way.action].format(granted=way.granted)


def _holds_without_document(condition: Condition) -> str:
    text = f"{condition.operator} {condition.key} holds if the request has no such key"
    return f"{text}, and KMS has no key of that name" if is_wrong_key(condition.key) else text


def _image_literals(way: Way, *indexes: int) -> list[Literal]:
    keys = [canonical_key(pcr_key(index)) for index in indexes or IMAGE_PCRS]
    chosen = [sorted(filter(_is_about_value, way.chosen.get(key, ())), key=str) for key in keys]
    return [literal for literals in chosen if _bits(literals) != DIGEST_BITS for literal in literals]


def _is_about_value(literal: Literal) -> bool:
    parsed = parse_operator(literal.condition.operator)
    return parsed is not None and parsed.comparison is not None


def _image_reasons(way: Way, kind: GapKind) -> tuple[str, ...]:
    """Return why a policy's conditions on the image do not prevent a way."""
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
    """Return the number of unchecked bits of the register whose conditions come closest to identifying the image."""
    found = [_bits(literals) for index in IMAGE_PCRS if (literals := _image_literals(way, index))]
    return min([bits for bits in found if bits] or [float(DIGEST_BITS)])


def _bits(literals: Iterable[Literal]) -> float | None:
    """Return the number of unchecked bits of a register, or None if counting would take too long."""
    try:
        return open_bits(frozenset(literals))
    except TooComplexError:
        return None


def _described(name: str) -> str:
    if name == ANYONE:
        return "anyone"
    account = _ACCOUNT.fullmatch(name)
    return f"anyone allowed by the IAM policies of account {account[1]}" if account else name
