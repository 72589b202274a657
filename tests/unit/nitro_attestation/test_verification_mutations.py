"""Documents, and expectations of one, that differ from the good case in one thing: refused by step and field."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

import cbor2
import pytest

from nitro_attestation.errors import VerificationStep
from nitro_attestation.verification import DEFAULT_LEEWAY
from tests.support.attestation.expectations import EVERYTHING, FIELDS, refusal
from tests.support.attestation.good_document import (
    AUTHORITY,
    GOOD,
    LEAF,
    NONCE,
    NOW,
    PCR0,
    attest,
    good_fields,
    resealed,
    signed,
)

SECOND = timedelta(seconds=1)


class Mutation(NamedTuple):
    """A document, or what is expected of one, that differs from the good case in one thing."""

    name: str
    step: VerificationStep
    field: str
    document: bytes = GOOD
    options: Mapping[str, Any] = MappingProxyType({})


def mutations() -> Iterator[Mutation]:
    yield from decoding_mutations()
    yield from content_mutations()
    yield from entry_mutations()
    yield from certificate_mutations()
    yield from signature_mutations()
    yield from expectation_mutations()


CUTS = 40
NO_BYTES: tuple[object, ...] = (None, True, 7, "text", [], {1: -35})
NO_INDEXES: tuple[object, ...] = ("0", b"0", None, 0.5)


def decoding_mutations() -> Iterator[Mutation]:
    step = VerificationStep.DECODING
    for part in range(CUTS):  # by parts, because the length of a document varies with its ECDSA signatures
        yield Mutation(f"cut after {part} of {CUTS} parts", step, "COSE_Sign1", GOOD[: len(GOOD) * part // CUTS])
    for name, document in (
        ("more bytes", GOOD + b"\0"),
        ("tag of COSE_Mac0", b"\xd1" + GOOD),
        ("two tags", b"\xd2\xd2" + GOOD),
        ("three parts", cbor2.dumps(list(cbor2.loads(GOOD))[:3])),
        ("five parts", cbor2.dumps([*cbor2.loads(GOOD), b""])),
        ("a map", cbor2.dumps({0: GOOD})),
    ):
        yield Mutation(name, step, "COSE_Sign1", document)
    for position, name in enumerate(("protected header", "unprotected header", "payload", "signature")):
        for value in NO_BYTES:
            yield Mutation(f"{name} {value!r}", step, name, resealed(position, value))
    for header in ({1: -7}, {1: -36}, {1: "ES384"}, {1: -35, 4: b"kid"}, {}):
        yield Mutation(f"algorithm {header!r}", step, "protected header", resealed(0, cbor2.dumps(header)))
    for size in (0, 64, 95, 97, 132):
        yield Mutation(f"signature of {size} bytes", step, "signature", resealed(3, bytes(size)))


WRONG_TYPES: dict[str, tuple[object, ...]] = {
    "module_id": (True, 7, 1.5, b"bytes", [], {}, ""),
    "digest": (True, 7, 1.5, b"SHA384", [], {}, "", "SHA256", "SHA512", "sha384"),
    "timestamp": (True, 1.5, "text", b"bytes", [], {}, 0, -1, 2**64 - 1, 253_402_300_800_000),
    "pcrs": (True, 7, 1.5, "text", b"bytes", [], {}),
    "certificate": (True, 7, 1.5, "text", [], {}, b"", bytes(1_025)),
    "cabundle": (True, 7, 1.5, "text", b"bytes", {}, []),
    "public_key": (True, 7, 1.5, "text", [], {}, bytes(1_025), bytes(2_048)),
    "user_data": (True, 7, 1.5, "text", [], {}, bytes(1_025), bytes(2_048)),
    "nonce": (True, 7, 1.5, "text", [], {}, bytes(1_025), bytes(2_048)),
}


def content_mutations() -> Iterator[Mutation]:
    step, good = VerificationStep.CONTENT, good_fields()
    for name, values in WRONG_TYPES.items():
        for value in values:
            yield Mutation(f"{name} {str(value)[:20]}", step, name, signed(good | {name: value}))
    for name in ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"):
        yield Mutation(f"{name} missing", step, name, signed({key: good[key] for key in good if key != name}))
        yield Mutation(f"{name} null", step, name, signed(good | {name: None}))
    for name in ("extra", "", "PCRS", "userdata"):
        yield Mutation(f"unknown field {name!r}", step, "payload", signed(good | {name: b""}))
    yield Mutation("field whose name is a number", step, "payload key", signed(good | {1: b""}))
    yield Mutation("fields of a NitroTPM", step, "nitrotpm_pcrs", signed(good | {"nitrotpm_pcrs": {0: PCR0}}))
    for size in (0, 16_385):
        yield Mutation(f"payload of {size} bytes", step, "payload", LEAF.sign(bytes(size)))


def entry_mutations() -> Iterator[Mutation]:
    step, good = VerificationStep.CONTENT, good_fields()
    for index, size in itertools.product(range(0, 32, 3), (0, 31, 33, 47, 49, 65)):
        pcrs = good["pcrs"] | {index: bytes(size)}
        yield Mutation(f"PCR{index} of {size} bytes", step, f"pcrs[{index}]", signed(good | {"pcrs": pcrs}))
    for index, value in itertools.product((0, 8, 31), NO_BYTES):
        pcrs = good["pcrs"] | {index: value}
        yield Mutation(f"PCR{index} {value!r}", step, f"pcrs[{index}]", signed(good | {"pcrs": pcrs}))
    for index in (-1, 32, 2**16):
        yield Mutation(f"PCR{index}", step, "pcrs", signed(good | {"pcrs": good["pcrs"] | {index: PCR0}}))
    for key in NO_INDEXES:
        yield Mutation(f"PCR index {key!r}", step, "pcrs: index", signed(good | {"pcrs": {key: PCR0}}))
    for position, value in itertools.product(range(4), (*NO_BYTES, b"", bytes(1_025))):
        cabundle = [*good["cabundle"][:position], value, *good["cabundle"][position + 1 :]]
        name = f"cabundle[{position}]"
        yield Mutation(f"{name} {str(value)[:20]}", step, name, signed(good | {"cabundle": cabundle}))


def certificate_mutations() -> Iterator[Mutation]:
    step, good = VerificationStep.CERTIFICATES, good_fields()
    root, *others = good["cabundle"]
    leaf = good["certificate"]
    for name, certificate in (("cut", leaf[:-1]), ("longer", leaf + b"\0"), ("zeros", bytes(600)), ("root", root)):
        yield Mutation(f"certificate: {name}", step, "certificate", signed(good | {"certificate": certificate}))
    for position in (1, 2, 3):
        name = f"cabundle[{position}]"
        der = good["cabundle"][position]
        for change, value in (("cut", der[:-1]), ("longer", der + b"\0"), ("zeros", bytes(600)), ("leaf", leaf)):
            cabundle = [*good["cabundle"][:position], value, *good["cabundle"][position + 1 :]]
            yield Mutation(f"{name}: {change}", step, name, signed(good | {"cabundle": cabundle}))
    for name, cabundle, where in (
        ("without the root", others, "cabundle[0]"),
        ("another root", [others[0], *others], "cabundle[0]"),
        ("upside down", [*reversed(others), root], "cabundle[0]"),
        ("without one", [root, *others[1:]], "cabundle[1]"),
        ("without the last", [root, *others[:-1]], "certificate"),
        ("one twice", [root, others[0], *others], "cabundle[2]"),
        ("too many", [root] * 9, "cabundle"),
    ):
        yield Mutation(f"cabundle: {name}", step, where, signed(good | {"cabundle": cabundle}))
    for position in range(0, len(leaf) - 110, 40):
        changed = leaf[:position] + bytes([leaf[position] ^ 0xFF]) + leaf[position + 1 :]
        mutation = signed(good | {"certificate": changed})
        yield Mutation(f"certificate: byte {position}", step, _where_it_breaks(mutation), mutation)
    for name, at in (("early", LEAF.not_before - DEFAULT_LEEWAY - SECOND), ("late", LEAF.not_after + SECOND)):
        yield Mutation(f"certificate: {name}", step, "certificate", options={"at": at, "max_age": None})
    yield Mutation("root of AWS", step, "cabundle[0]", options={"root": bytes(32)})


def _where_it_breaks(document: bytes) -> str:
    """A changed byte of a certificate makes it unreadable, of another kind, or not signed by the one above it."""
    field_name = refusal(document).field
    assert field_name in ("certificate", "cabundle")
    return field_name


def signature_mutations() -> Iterator[Mutation]:
    step, good = VerificationStep.SIGNATURE, good_fields()
    signature = cbor2.loads(GOOD)[3]
    for position in range(0, 96, 2):
        changed = signature[:position] + bytes([signature[position] ^ 1]) + signature[position + 1 :]
        yield Mutation(f"signature: byte {position}", step, "signature", resealed(3, changed))
    yield Mutation("signature: halves swapped", step, "signature", resealed(3, signature[48:] + signature[:48]))
    for name, value in (
        ("module_id", "another"),
        ("timestamp", good["timestamp"] + 1),
        ("pcrs", good["pcrs"] | {0: bytes(48)}),
        ("public_key", b"another key"),
        ("public_key", None),
        ("user_data", b""),
        ("user_data", None),
        ("nonce", bytes(32)),
    ):
        changed = cbor2.dumps(good | {name: value})
        yield Mutation(f"signed: {name} {str(value)[:20]}", step, "signature", resealed(2, changed))
    other = AUTHORITY.leaf_for("another module", NOW)
    yield Mutation("signed by another leaf", step, "signature", other.sign(cbor2.dumps(good)))


def expectation_mutations() -> Iterator[Mutation]:
    for name, step in (
        ("nonce", VerificationStep.NONCE),
        ("user_data", VerificationStep.USER_DATA),
        ("public_key", VerificationStep.PUBLIC_KEY),
    ):
        expected: bytes = EVERYTHING[name]
        for other in (
            b"",
            expected[:-1],
            expected + b"\0",
            expected[::-1],
            b"deliver=reply\n" + expected,
            bytes(1_024),
        ):
            yield Mutation(f"{name} expected: {other[:20]!r}", step, name, options={name: other})
        yield Mutation(f"{name} empty", step, name, signed(good_fields() | {name: b""}))
        yield Mutation(f"{name} null", step, name, signed(good_fields() | {name: None}))
    for index in range(16):
        pcrs = dict(FIELDS.pcrs) | {index: b"\x5a" * 48}
        yield Mutation(f"PCR{index} expected", VerificationStep.MEASUREMENTS, f"PCR{index}", options={"pcrs": pcrs})
    for index in (16, 31):
        expected_pcr = {index: bytes(48)}
        yield Mutation(
            f"PCR{index} expected", VerificationStep.MEASUREMENTS, f"PCR{index}", options={"pcrs": expected_pcr}
        )
    yield Mutation("old", VerificationStep.AGE, "timestamp", options={"at": NOW + timedelta(minutes=2)})
    debug = attest(debug=True, nonce=NONCE, user_data=b"some data", public_key=b"a key")
    yield Mutation("debug mode", VerificationStep.MODE, "pcrs", debug)


MUTATIONS = list(mutations())


def test_there_are_at_least_300_mutations_and_some_of_every_step() -> None:
    print(f"{len(MUTATIONS)} mutations of a document and of what is expected of it")
    assert len(MUTATIONS) >= 300
    assert {mutation.step for mutation in MUTATIONS} == set(VerificationStep)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mutation_is_refused_with_its_step_and_its_field(mutation: Mutation) -> None:
    error = refusal(mutation.document, **mutation.options)
    assert (error.step, error.field) == (mutation.step, mutation.field)
    assert str(error) == f"attestation document: {mutation.field}: {error.reason}"
    assert error.reason.isprintable()
    assert error.reason[0].islower()
