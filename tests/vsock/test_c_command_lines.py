"""The command lines of the C project's documentation over real AF_VSOCK, long and short, with C's and with our names.

Only what leads to the simulator is added: the NSM's socket, the certificate authority, and the CID, which is 1 here.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nitro_simulator.account import SimulatedAccount
from nitro_simulator.deployment import processes
from tests.support.vsock.ports import CID_LOCAL, free_vsock_port
from vsock_wire.net.address import VsockAddress
from vsock_wire.protocol.json_codec import encode_base64

REGION = "us-east-1"
LONG = {
    "cid": "--cid",
    "port": "--port",
    "region": "--region",
    "proxy": "--proxy-port",
    "context": "--encryption-context",
    "access": "--aws-access-key-id",
    "secret": "--aws-secret-access-key",
    "token": "--aws-session-token",
    "ciphertext": "--ciphertext",
}
SHORT = {
    "cid": "-c",
    "port": "-p",
    "region": "-r",
    "proxy": "-x",
    "context": "-e",
    "access": "-k",
    "secret": "-s",
    "token": "-t",
    "ciphertext": "-c",
}


@pytest.fixture(scope="module")
def account() -> Iterator[SimulatedAccount]:
    directory = Path(tempfile.mkdtemp(prefix="kms-"))
    try:
        with SimulatedAccount(directory) as account:
            yield account
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def proxy_port(account: SimulatedAccount) -> Iterator[int]:
    """Return the port of a proxy: ``vsock-proxy 8000 kms.$CMK_REGION.amazonaws.com 443`` in C's documentation."""
    port = free_vsock_port()
    host, kms_port = account.kms_server.address
    with processes.running(
        ["vsock-proxy", "--config", str(account.allowlist_file), str(port), host, str(kms_port)],
        listens_on=VsockAddress(CID_LOCAL, port),
        log_file=account.directory / "proxy.log",
    ):
        yield port


def simulated(account: SimulatedAccount) -> list[str]:
    nsm = str(account.enclave.nsm_address)
    return ["--nsm", nsm, "--allow-non-vsock", "--ca-file", str(account.ca_file), "--parent-cid", str(CID_LOCAL)]


@contextlib.contextmanager
def running_enclave(account: SimulatedAccount, proxy_port: int, name: str, flags: dict[str, str]) -> Iterator[int]:
    port = free_vsock_port()
    arguments = [name, flags["port"], str(port), flags["proxy"], str(proxy_port), *simulated(account)]
    with processes.running(
        arguments,
        listens_on=VsockAddress(CID_LOCAL, port),
        log_file=account.directory / f"{name}-{port}.log",
    ):
        yield port


def run(
    name: str, arguments: list[str], environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [processes.tool_path(name), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=processes.clean_environment(environment or {}),
        timeout=120.0,
        check=False,
    )


@pytest.mark.parametrize("flags", [LONG, SHORT], ids=["long", "short"])
@pytest.mark.parametrize("dash", ["_", "-"])
class TestEveryProgram:
    def test_instance_and_enclave(
        self, account: SimulatedAccount, proxy_port: int, flags: dict[str, str], dash: str
    ) -> None:
        ciphertext = encode_base64(account.key.seal(b"Hello, KMS!", encryption_context={"a": "1", "b": "x=y"}))
        with running_enclave(account, proxy_port, f"kmstool{dash}enclave", flags) as port:
            arguments = [flags["cid"], str(CID_LOCAL), flags["port"], str(port), flags["region"], REGION]
            contexts = [flags["context"], "a=1", flags["context"], "b=x=y"]
            done = run(f"kmstool{dash}instance", [*arguments, *contexts, ciphertext], account.imds_environment)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"Hello, KMS!\n", b"")

    def test_one_shot_program(
        self, account: SimulatedAccount, proxy_port: int, flags: dict[str, str], dash: str
    ) -> None:
        ciphertext = encode_base64(account.key.seal(b"Hello, KMS!", encryption_context={}))
        credentials = account.issue_credentials()
        arguments = [
            "decrypt",
            flags["region"], REGION,
            flags["proxy"], str(proxy_port),
            flags["access"], credentials.access_key_id,
            flags["secret"], credentials.secret_access_key,
            flags["token"], credentials.session_token or "",
            flags["ciphertext"], ciphertext,
        ]  # fmt: skip
        done = run(f"kmstool{dash}enclave{dash}cli", [*arguments, *simulated(account)])
        assert (done.returncode, done.stdout, done.stderr) == (0, b"PLAINTEXT: SGVsbG8sIEtNUyE=\n", b"")
