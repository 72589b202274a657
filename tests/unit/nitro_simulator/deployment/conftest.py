from __future__ import annotations

from collections.abc import Iterator

import pytest

from nitro_simulator.account import SimulatedAccount


@pytest.fixture(scope="package")
def account() -> Iterator[SimulatedAccount]:
    """An account that these tests do not change."""
    with SimulatedAccount() as account:
        yield account
