"""One enclave and one port of the proxy: KMS in two regions, through a CONNECT route."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest
from botocore.exceptions import EndpointConnectionError

from enclave_tool import KmsOptions, Recipient, attested_kms_client, open_nsm
from enclave_tool.nsm.device import Nsm
from nitro_simulator.account import SimulatedAccount
from nitro_simulator.deployment import processes
from tests.support.kms.second_region import SecondRegion, second_region
from tests.support.proxy.bench import Bench
from tests.support.proxy.processes import Proxy, closed_port
from vsock_wire.net.address import UnixAddress
from vsock_wire.protocol.json_codec import encode_base64

CONTEXT = {"purpose": "test"}
Decrypt: TypeAlias = Callable[[int], "subprocess.CompletedProcess[bytes]"]
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


@pytest.fixture
def decrypt(scene: Scene) -> Iterator[Decrypt]:
    """Run kmstool-instance against a new enclave's server that calls KMS at this port of localhost."""
    with contextlib.ExitStack() as stack:

        def run(kms_port: int) -> subprocess.CompletedProcess[bytes]:
            address = UnixAddress(str(scene.account.directory / f"enclave-{kms_port}.sock"))
            way = ["--proxy", f"unix:{scene.bench.path}", "--proxy-connect", "--endpoint", f"localhost:{kms_port}"]
            nsm = ["--nsm", str(scene.account.enclave.nsm_address), "--ca-file", str(scene.account.ca_file)]
            stack.enter_context(
                processes.running(
                    ["kmstool-enclave", "--allow-non-vsock", "--listen", str(address), *way, *nsm],
                    listens_on=address,
                    log_file=scene.account.directory / f"enclave-{kms_port}.log",
                )
            )
            ciphertext = encode_base64(scene.account.key.seal(b"Hello", encryption_context={}))
            return processes.run_instance(
                ["--enclave", str(address), "--region", scene.account.region, ciphertext],
                environment=scene.account.imds_environment,
                stdin=b"",
            )

        yield run


def test_enclaves_server_decrypts_through_a_connect_route(scene: Scene, decrypt: Decrypt) -> None:
    done = decrypt(scene.account.kms_server.port)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Hello\n", b"")


def test_refusal_of_the_proxy_reaches_the_user_with_the_file_to_edit(scene: Scene, decrypt: Decrypt) -> None:
    with closed_port() as port:
        done = decrypt(port)
    assert (done.returncode, done.stdout) == (3, b"")
    error, hint = done.stderr.decode().splitlines()
    assert f"403: The given address and port are not allowed: localhost:{port}" in error
    assert hint == (
        f"hint: on the parent instance: add {{address: localhost, port: {port}}} to allowlist in {scene.bench.config}"
    )
