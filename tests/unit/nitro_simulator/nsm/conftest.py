from __future__ import annotations

import pytest

from nitro_simulator.nsm.service import SimulatedNsm
from tests.support.attestation.simulated_nsm import AUTHORITY, MODULE_ID, NOW, PCRS


@pytest.fixture
def nsm() -> SimulatedNsm:
    return SimulatedNsm(AUTHORITY, module_id=MODULE_ID, pcrs=PCRS, clock=lambda: NOW)
