from __future__ import annotations

import pytest

from enclave_tool.server.session import Session
from tests.support.enclave.scripted_kms import (
    SET_CLIENT,
    ScriptedRegions,
    ask,
    new_session,
)


@pytest.fixture
def regions() -> ScriptedRegions:
    return ScriptedRegions()


@pytest.fixture
def session(regions: ScriptedRegions) -> Session:
    return new_session(regions)


@pytest.fixture
def ready(session: Session) -> Session:
    assert ask(session, SET_CLIENT)["Status"] == "Ok"
    return session
