from __future__ import annotations

from collections.abc import Iterator

import pytest

from nitro_simulator.account import SimulatedAccount


@pytest.fixture(scope="package")
def account() -> Iterator[SimulatedAccount]:
    """An account that these tests leave as it is."""
    with SimulatedAccount() as account:
        yield account
