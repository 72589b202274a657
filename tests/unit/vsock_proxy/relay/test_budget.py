"""How much may be held for slow readers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vsock_proxy.relay.budget import CHUNK_BYTES, OWN_BYTES, Budget


def test_direction_may_always_take_its_own_and_never_more_than_a_chunk() -> None:
    assert Budget(0).allowance() == OWN_BYTES
    assert Budget(10 * CHUNK_BYTES).allowance() == CHUNK_BYTES
    budget = Budget(1_000)
    assert budget.allowance() == OWN_BYTES + 1_000
    budget.hold(budget.allowance())
    assert budget.allowance() == OWN_BYTES


def test_peak_is_that_since_it_was_last_asked_for() -> None:
    budget = Budget(10 * CHUNK_BYTES)
    budget.hold(CHUNK_BYTES)
    budget.hold(CHUNK_BYTES)
    budget.release(CHUNK_BYTES)
    assert budget.take_peak() == 2 * (CHUNK_BYTES - OWN_BYTES)
    assert budget.take_peak() == CHUNK_BYTES - OWN_BYTES
    budget.release(CHUNK_BYTES)
    assert budget.take_peak() == CHUNK_BYTES - OWN_BYTES
    assert budget.take_peak() == 0


@given(st.integers(0, 4 * CHUNK_BYTES), st.lists(st.floats(0, 1), max_size=60))
def test_cap_holds_whatever_is_taken(shared_bytes: int, parts: list[float]) -> None:
    budget = Budget(shared_bytes)
    held: list[int] = []
    for part in parts:
        if part < 0.2 and held:
            budget.release(held.pop())
        else:
            held.append(int(part * budget.allowance()))
            budget.hold(held[-1])
        assert sum(held) <= shared_bytes + OWN_BYTES * len(held)
    for count in held:
        budget.release(count)
    assert budget.free_bytes == shared_bytes
