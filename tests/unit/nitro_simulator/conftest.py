from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from nitro_simulator.kms.server import KmsServer
from nitro_simulator.nsm.authority import AttestationAuthority
from nitro_simulator.pki.tls import TlsAuthority
from tests.support.kms.world import ROLE, Enclave, KmsWorld, RawClient, boto_client, ca_file, new_world

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


@pytest.fixture(scope="session")
def attestation_authority() -> AttestationAuthority:
    return AttestationAuthority.create()


@pytest.fixture(scope="session")
def recipient_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


@pytest.fixture(scope="session")
def tls_authority() -> TlsAuthority:
    return TlsAuthority.create()


@pytest.fixture
def world(attestation_authority: AttestationAuthority) -> KmsWorld:
    return new_world(attestation_authority)


@pytest.fixture
def enclave(world: KmsWorld, recipient_key: rsa.RSAPrivateKey) -> Enclave:
    return world.enclave(recipient_key)


@pytest.fixture
def kms_server(world: KmsWorld, tls_authority: TlsAuthority) -> Iterator[KmsServer]:
    with KmsServer(world.kms, tls=tls_authority.server_certificate("localhost", "127.0.0.1")) as server:
        yield server


@pytest.fixture
def tls_ca_file(tls_authority: TlsAuthority, tmp_path: Path) -> Path:
    return ca_file(tmp_path, tls_authority)


@pytest.fixture
def kms_client(world: KmsWorld, kms_server: KmsServer, tls_ca_file: Path) -> Iterator[KMSClient]:
    client = boto_client(kms_server, tls_ca_file, world.identities.issue(ROLE))
    yield client
    client.close()


@pytest.fixture
def raw_client(kms_server: KmsServer, tls_ca_file: Path, world: KmsWorld) -> Iterator[RawClient]:
    client = RawClient(kms_server, tls_ca_file, world.identities.issue(ROLE))
    yield client
    client.close()
