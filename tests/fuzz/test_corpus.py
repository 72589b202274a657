"""Run every file of the corpora, and mutations of it, through its target, so that the fuzzer's findings stay fixed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.targets import CORPUS, TARGETS, attestation_documents, cms, requests

MUTATIONS = 100
"""Number of mutations of each file; a campaign tries millions."""
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())


def mutations(seed: bytes, generator: random.Random) -> Iterator[bytes]:
    for _ in range(MUTATIONS):
        mutant = bytearray(seed)
        for _ in range(generator.randint(1, 4)):
            start = generator.randrange(len(mutant) + 1)
            size = generator.choice((0, 1, 1, 2, 8))
            piece = generator.choice((b"", generator.randbytes(1), seed[:16], bytes(size), b"\xff" * size))
            mutant[start : start + size] = piece
        yield bytes(mutant)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_file_and_its_mutations_raise_only_documented_errors(path: Path) -> None:
    target, seed = TARGETS[path.parent.name], path.read_bytes()
    target(seed)
    for mutant in mutations(seed, random.Random(path.name)):  # noqa: S311 - the same ones each time
        target(mutant)


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {file.parent.name for file in FILES} == set(TARGETS)


class TestTargetsSee:
    def test_an_error_that_is_not_documented(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_: bytes) -> None:
            raise KeyError

        monkeypatch.setattr("tests.fuzz.targets.parse_enveloped_data", fail)
        with pytest.raises(KeyError):
            cms(bytes(64))

    def test_a_document_that_verifies_and_was_never_signed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tests.fuzz.targets.verify_document", lambda *_, **__: None)
        with pytest.raises(AssertionError):
            attestation_documents((CORPUS / "attestation_documents" / "stranger").read_bytes())

    def test_a_number_that_is_not_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tests.fuzz.targets.decode_message", lambda _: {"a": [{"b": float("inf")}]})
        monkeypatch.setattr("tests.fuzz.targets.encode_message", lambda _: b"")
        with pytest.raises(AssertionError):
            requests(b"{}")
