"""Real processes of every tool with a simulated AWS account, connected by unix sockets and real TLS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.deployment.deployment import Deployment, deploy


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """Start one deployment for all tests of a file; no test may change it for the others."""
    with deploy() as started:
        yield started
