"""The package and an independent implementation of IAM's published logic agree on generated policies."""

from __future__ import annotations

import pytest

from tests.support.key_policies.comparison import compare

CHUNKS, POLICIES_IN_A_CHUNK = 10, 2_000


@pytest.mark.parametrize("seed", range(CHUNKS))
def test_no_disagreement_with_iams_published_logic(seed: int) -> None:
    comparison = compare(seed, POLICIES_IN_A_CHUNK)
    print(f"chunk {seed + 1} of {CHUNKS}: {comparison}")
    assert comparison.disagreements[:3] == []
    assert comparison.counts["policies"] == POLICIES_IN_A_CHUNK
    assert all(comparison.counts[what] > 300 for what in ("known requests", "possible verdicts", "ways"))


def test_there_are_twenty_thousand_policies() -> None:
    assert CHUNKS * POLICIES_IN_A_CHUNK >= 20_000
