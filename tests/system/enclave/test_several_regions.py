"""One enclave and one port of the proxy: KMS in two regions, through a CONNECT route."""

from __future__ import annotations

import contextlib
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from botocore.exceptions import EndpointConnectionError

from enclave_tool import KmsOptions, Recipient, attested_kms_client, open_nsm
from enclave_tool.nsm.device import Nsm
from nitro_simulator.account import SimulatedAccount
from tests.support.kms.second_region import SecondRegion, second_region
from tests.support.proxy.bench import Bench
from tests.support.proxy.processes import Proxy
from vsock_wire.net.address import UnixAddress

CONTEXT = {"purpose": "test"}
OTHER_REGION = "eu-west-1"


class Scene(NamedTuple):
    """An account with KMS in two regions, and a proxy with one port for both."""

    account: SimulatedAccount
    other: SecondRegion
    bench: Bench
    proxy: Proxy
    nsm: Nsm

    def options(self, port: int) -> KmsOptions:
        return KmsOptions(
            proxy=UnixAddress(str(self.bench.path)),
            proxy_connect=True,
            endpoint_host=f"localhost:{port}",
            ca_file=self.account.ca_file,
        )


@pytest.fixture
def scene() -> Iterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="sr") as folder, contextlib.ExitStack() as stack:
        account = stack.enter_context(SimulatedAccount())
        other = stack.enter_context(second_region(account, OTHER_REGION))
        bench = Bench(Path(folder), stack)
        bench.allow(
            ("localhost", account.kms_server.port),
            ("localhost", other.server.port),
            routes=f"routes: [{{listen: 'unix:{bench.path}', connect: true}}]\n",
        )
        proxy = bench.run("-4")
        yield Scene(account, other, bench, proxy, stack.enter_context(open_nsm(account.enclave.nsm_address)))


def test_attested_clients_of_two_regions_share_one_port_and_one_recipient(scene: Scene) -> None:
    recipient = Recipient(scene.nsm)
    regions = (
        (scene.account.region, scene.account.kms_server.port, scene.account.key),
        (OTHER_REGION, scene.other.server.port, scene.other.key),
    )
    for region, port, key in regions:
        client = attested_kms_client(
            recipient,
            region=region,
            credentials=scene.account.issue_credentials(),
            options=scene.options(port),
        )
        answer = client.decrypt(
            CiphertextBlob=key.seal(region.encode(), encryption_context=CONTEXT), EncryptionContext=CONTEXT
        )
        assert answer["Plaintext"] == region.encode()
        assert answer["KeyId"] == key.arn
        client.close()
    scene.proxy.stop(signal.SIGINT)  # ends kept connections, and logs each
    for _, port, _ in regions:
        assert f"-> CONNECT localhost:{port}: " in scene.proxy.log


def test_region_that_the_proxy_does_not_permit_is_reported_with_its_reason(scene: Scene) -> None:
    scene.bench.allow(
        ("localhost", scene.account.kms_server.port),
        routes=f"routes: [{{listen: 'unix:{scene.bench.path}', connect: true}}]\n",
    )
    scene.proxy.process.send_signal(signal.SIGHUP)
    scene.proxy.wait_for("reloaded")
    client = attested_kms_client(
        Recipient(scene.nsm),
        region=OTHER_REGION,
        credentials=scene.account.issue_credentials(),
        options=scene.options(scene.other.server.port),
    )
    with pytest.raises(EndpointConnectionError, match="403: The given address and port are not allowed: localhost:"):
        client.generate_random(NumberOfBytes=1)
    client.close()
