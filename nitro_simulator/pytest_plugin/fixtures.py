"""The pytest fixtures: a simulated account for the test session, and clients outside and inside its enclave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

    from nitro_simulator.account import SimulatedAccount


@pytest.fixture(scope="session")
def kmstool_sim() -> Iterator[SimulatedAccount]:
    """A simulated account for the session: IMDSv2, KMS with one key, and the NSM of the enclave that the key trusts.

    Tests must undo what they change, such as a key policy or the IMDS mode. With pytest-xdist each worker has its own
    account.
    """
    from nitro_simulator.account import SimulatedAccount  # noqa: PLC0415 - loads boto3, which most test runs do not need

    with SimulatedAccount() as account:
        yield account


@pytest.fixture(scope="session")
def kmstool_key_id(kmstool_sim: SimulatedAccount) -> str:
    """The ARN of the key. Its policy lets the role encrypt anywhere but decrypt only inside the enclave."""
    return kmstool_sim.key.arn


@pytest.fixture(scope="session")
def kmstool_endpoint_url(kmstool_sim: SimulatedAccount) -> str:
    """The URL of KMS; its TLS certificate verifies against ``kmstool_sim.ca_file``."""
    return kmstool_sim.kms_endpoint_url


@pytest.fixture
def kmstool_client(kmstool_sim: SimulatedAccount) -> Iterator[KMSClient]:
    """A boto3 KMS client as a program outside any enclave would use: KMS refuses to decrypt for it."""
    client = kmstool_sim.unattested_client()
    yield client
    client.close()


@pytest.fixture
def kmstool_enclave_client(kmstool_sim: SimulatedAccount) -> Iterator[KMSClient]:
    """The client that ``enclave_tool.attested_kms_client`` returns inside the enclave that the key trusts."""
    client = kmstool_sim.attested_client()
    yield client
    client.close()
