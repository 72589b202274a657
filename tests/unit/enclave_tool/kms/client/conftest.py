"""One KMS and one client for all tests of a file, because creating a client takes a quarter of a second."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from enclave_tool.kms.client import attested_kms_client
from enclave_tool.kms.options import KmsOptions
from enclave_tool.kms.tls import tls_context
from enclave_tool.recipient.attested_key import Recipient, RecipientKey
from tests.support.enclave.attested_calls import CREDENTIALS, REGION, ClientWorld
from tests.support.enclave.scripted_nsm import ScriptedNsm
from tests.support.kms.canned_kms import CannedKms, ThrowawayAuthority
from vsock_wire.net.address import UnixAddress

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


@pytest.fixture(scope="module")
def shared_world(authority: ThrowawayAuthority, recipient_key: RecipientKey) -> Iterator[ClientWorld]:
    with (
        tempfile.TemporaryDirectory(prefix="kt-") as folder,
        CannedKms(UnixAddress(f"{folder}/kms"), authority.server_context("kms.us-east-1.amazonaws.com")) as kms,
    ):
        tls = tls_context(str(authority.write_bundle(Path(folder) / "authority.pem")))
        nsm = ScriptedNsm()
        recipient = Recipient(nsm, key=recipient_key)
        client = attested_kms_client(
            recipient, region=REGION, credentials=CREDENTIALS, options=KmsOptions(proxy=kms.address, tls=tls)
        )
        yield ClientWorld(kms, nsm, recipient, tls, client)
        client.close()


@pytest.fixture
def world(shared_world: ClientWorld) -> ClientWorld:
    """The shared world, reset to its initial state."""
    shared_world.kms.forget()
    shared_world.nsm.carrier.forget()
    return shared_world


@pytest.fixture
def kms(world: ClientWorld) -> CannedKms:
    return world.kms


@pytest.fixture
def scripted_nsm(world: ClientWorld) -> ScriptedNsm:
    return world.nsm


@pytest.fixture
def recipient(world: ClientWorld) -> Recipient:
    return world.recipient


@pytest.fixture
def client(world: ClientWorld) -> KMSClient:
    return world.client


@pytest.fixture
def tls(world: ClientWorld) -> ssl.SSLContext:
    return world.tls
