"""Real processes of every tool around a simulated account, over unix sockets and real TLS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.deployment.deployment import Deployment, deploy


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """One for all tests of a file: none of them changes it for the others."""
    with deploy() as started:
        yield started
