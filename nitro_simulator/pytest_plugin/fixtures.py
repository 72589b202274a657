"""The pytest fixtures: a simulated account for the whole test session, and clients outside and inside its enclave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

    from nitro_simulator.account import SimulatedAccount


@pytest.fixture(scope="session")
def kmstool_sim() -> Iterator[SimulatedAccount]:
    """A simulated account for the whole session: IMDSv2, KMS with one key, and the NSM of the enclave it trusts.

    What tests do to it, such as a changed key policy or IMDS mode, they undo themselves. With pytest-xdist each worker
    has its own.
    """
    from nitro_simulator.account import SimulatedAccount  # noqa: PLC0415 - loads boto3, which most test runs do not need

    with SimulatedAccount() as account:
        yield account


@pytest.fixture(scope="session")
def kmstool_key_id(kmstool_sim: SimulatedAccount) -> str:
    """The ARN of the key, whose policy lets the role encrypt, and decrypt only inside the enclave."""
    return kmstool_sim.key.arn


@pytest.fixture(scope="session")
def kmstool_endpoint_url(kmstool_sim: SimulatedAccount) -> str:
    """Where KMS listens, with TLS; its authority is ``kmstool_sim.ca_file``."""
    return kmstool_sim.kms_endpoint_url


@pytest.fixture
def kmstool_client(kmstool_sim: SimulatedAccount) -> Iterator[KMSClient]:
    """boto3's KMS client as a program outside any enclave has it: KMS refuses to decrypt for it."""
    client = kmstool_sim.unattested_client()
    yield client
    client.close()


@pytest.fixture
def kmstool_enclave_client(kmstool_sim: SimulatedAccount) -> Iterator[KMSClient]:
    """The client that ``enclave_tool.attested_kms_client`` makes, inside the enclave the key trusts."""
    client = kmstool_sim.attested_client()
    yield client
    client.close()
