"""A simulated account whose proxy leads to KMS in two regions, as a proxy with a route for each host does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from nitro_simulator.http_server import HttpRequest, HttpResponse, HttpServer
from nitro_simulator.kms.keys.key import KmsKey
from nitro_simulator.kms.server import MAX_BODY_BYTES, KmsServer
from nitro_simulator.kms.service import SimulatedKms
from tests.support.deployment.deployment import Deployment


@contextlib.contextmanager
def second_region(deployment: Deployment, region: str, *, proxy: str) -> Iterator[KmsKey]:
    """Start KMS in a second region, and a proxy that leads to it and to the first one; yield its key.

    The key's policy is that of the first region's key. Each KMS accepts only signatures for its own region.
    """
    account = deployment.account
    kms = SimulatedKms(
        attestation_root_sha256=account.kms._root_sha256,
        identities=account._identities,
        region=region,
        clock=account.kms.clock,
    )
    host = f"kms.{region}.amazonaws.com"
    tls = account.tls.server_certificate(account.kms_host, host)
    with KmsServer(kms, tls=tls) as second:

        def answer(request: HttpRequest) -> HttpResponse:
            return (second if request.header("Host") == host else account.kms_server)._serve(request)

        with HttpServer(answer, server_name="two", max_body_bytes=MAX_BODY_BYTES, tls=tls.ssl_context()) as both:
            deployment.start_proxy(proxy, kms_port=both.address[1])
            yield kms.create_key(policy=account.key.policy_text)
