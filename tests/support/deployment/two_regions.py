"""A simulated account whose proxy leads to KMS in two regions, as a proxy with a route for each host does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from nitro_simulator.kms.keys.key import KmsKey
from nitro_simulator.kms.regions import find_region
from nitro_simulator.kms.server import KmsServer
from tests.support.deployment.deployment import Deployment


@contextlib.contextmanager
def second_region(deployment: Deployment, region: str, *, proxy: str) -> Iterator[KmsKey]:
    """Add a region to the account, and start a proxy that leads to it and to the first one; yield its key.

    The key's policy is that of the first region's key. Each KMS accepts only signatures for its own region.
    """
    account = deployment.account
    second = account.kms.add_region(region)
    tls = account.tls.server_certificate(account.kms_host, find_region(region).kms_host)
    with KmsServer(account.kms, tls=tls) as both:
        deployment.start_proxy(proxy, kms_port=both.port)
        yield second.create_key(policy=account.key.policy_text)
