"""KMS of another region for a simulated account: it knows the same roles, and trusts the same enclaves."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
from collections.abc import Iterator
from typing import NamedTuple

from nitro_simulator.account import KEY_ALIAS, SimulatedAccount, _allow_only_key_policy
from nitro_simulator.kms.keys.key import KmsKey
from nitro_simulator.kms.regions import find_region
from nitro_simulator.kms.server import KmsServer
from nitro_simulator.kms.service import SimulatedKms


class SecondRegion(NamedTuple):
    """A region's KMS."""

    name: str
    host: str
    kms: SimulatedKms
    server: KmsServer
    key: KmsKey


@contextlib.contextmanager
def second_region(account: SimulatedAccount, name: str) -> Iterator[SecondRegion]:
    """Run the KMS of another region, with a key of its own; its certificate is issued by the account's authority."""
    root = ssl.PEM_cert_to_DER_cert(account.attestation_root_file.read_text())
    kms = SimulatedKms(
        attestation_root_sha256=hashlib.sha256(root).digest(),
        identities=account.kms.identities,
        region=name,
    )
    host = find_region(name).kms_host
    with KmsServer(kms, tls=account.tls.server_certificate(host, "localhost")) as server:
        policy = _allow_only_key_policy(account.kms.identities, account.enclave.pcr0)
        yield SecondRegion(name, host, kms, server, kms.create_key(policy=policy, alias=KEY_ALIAS))
