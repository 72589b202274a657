"""Every fault at every hop gives the right exit code, leaks no plaintext, and does not affect the next client."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from nitro_simulator.account import SimulatedAccount
from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment import processes
from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment, deploy
from tests.support.deployment.faulty_hop import Fault, FaultyHop
from tests.support.enclave.scripted_enclave import Peer, ScriptedEnclave
from vsock_wire.errors import ExitCode
from vsock_wire.net.address import TcpAddress, UnixAddress

PLAINTEXT = b"p1aintext-that-must-come-whole-or-not-at-all"
TIMEOUT_S = 3.0
"""The client's timeout for each reply of the enclave."""
HOPS = ("instance-enclave", "enclave-proxy", "proxy-KMS", "IMDS", "NSM")


@dataclass
class World:
    deployment: Deployment
    hops: dict[str, FaultyHop]
    ciphertext: str
    seen: list[bytes] = field(default_factory=list)

    def decrypt(self) -> subprocess.CompletedProcess[bytes]:
        host, port = _place(self.hops["IMDS"])
        return processes.run_instance(
            [
                *("--enclave", str(self.hops["instance-enclave"].address), "--region", self.deployment.account.region),
                *("--timeout", str(TIMEOUT_S), *CONTEXT_OPTIONS, "-"),
            ],
            environment={"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{host}:{port}"},
            stdin=self.ciphertext.encode(),
        )


def _place(hop: FaultyHop) -> tuple[str, int]:
    assert isinstance(hop.address, TcpAddress)
    return hop.address.host, hop.address.port


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with deploy(start=False) as deployment, deploy(start=False) as elsewhere, contextlib.ExitStack() as stack:
        hops = {
            name: stack.enter_context(hop)
            for name, hop in zip(HOPS, _make_hops(deployment, elsewhere.account, stack), strict=True)
        }
        deployment.start_proxy("proxy", kms_port=_place(hops["proxy-KMS"])[1])
        nsm = ("--nsm", str(hops["NSM"].address))
        deployment.start_enclave("enclave", "-vv", *nsm, proxy_name="faulty-proxy")
        hops["NSM"].measure_again()
        world = World(deployment, hops, deployment.encrypt(PLAINTEXT))
        assert world.decrypt().stdout == PLAINTEXT + b"\n"
        for hop in hops.values():
            hop.set_fault(None)  # each hop now knows the length of a whole response; later runs may reuse connections
        yield world


def _make_hops(deployment: Deployment, elsewhere: SimulatedAccount, stack: contextlib.ExitStack) -> Iterator[FaultyHop]:
    account = deployment.account

    def confuse(peer: Peer) -> None:
        """Answer every request with a reply to Describe."""
        while peer.receive() is not None:
            peer.send({"Status": "Ok", "Version": "1", "Protocol": 2, "Delivery": "reply", "Region": None})

    def faulty(name: str) -> UnixAddress:
        return UnixAddress(str(account.directory / f"faulty-{name}.sock"))

    other = account.directory / "other"
    other.mkdir()
    stranger = stack.enter_context(ScriptedEnclave(other, confuse)).address
    kms, other_kms = (_tcp(place.kms_server.address) for place in (account, elsewhere))
    anywhere = TcpAddress("127.0.0.1", 0)
    yield FaultyHop(faulty("enclave"), commands.enclave_address(account), stranger)
    yield FaultyHop(faulty("proxy"), commands.proxy_address(account), other_kms)
    yield FaultyHop(anywhere, kms, other_kms)
    yield FaultyHop(anywhere, _tcp(account.imds_server.address), _tcp(elsewhere.imds_server.address))
    yield FaultyHop(faulty("nsm"), account.enclave.nsm_address, account.other_enclave.nsm_address)


def _tcp(address: tuple[str, int]) -> TcpAddress:
    return TcpAddress(*address)


def _expect(hop: str, fault: Fault) -> ExitCode:
    """Return the exit code that docs/how-to/troubleshoot.md gives for it."""
    match hop, fault:
        case (_, Fault.DRIPPING) | ("IMDS" | "NSM", Fault.DUPLICATE):
            return ExitCode.DONE
        case ("IMDS" | "NSM", Fault.WRONG):
            return ExitCode.REFUSED  # KMS rejects another account's credentials and another enclave's document
        case ("IMDS", _):
            return ExitCode.NO_CREDENTIALS
        case (_, Fault.WRONG | Fault.GARBAGE | Fault.DUPLICATE):
            return ExitCode.FAILED  # TLS and the wire protocol detect it
        case ("NSM", _) if fault is not Fault.STALLED:
            return ExitCode.FAILED  # the enclave reports the error of its module
        case _:
            return ExitCode.UNREACHABLE


@pytest.mark.parametrize(("hop", "fault"), list(itertools.product(HOPS, Fault)), ids=str)
def test_fault_gives_its_exit_code_leaks_no_plaintext_and_spares_the_next_client(
    world: World, hop: str, fault: Fault
) -> None:
    faulty = world.hops[hop]
    faulty.set_fault(fault)
    try:
        done = world.decrypt()
        assert faulty.hits > 0 or fault is Fault.REFUSED
    finally:
        faulty.set_fault(None)
    expected = _expect(hop, fault)
    assert done.returncode == expected, done.stderr
    assert done.stdout == (PLAINTEXT + b"\n" if expected is ExitCode.DONE else b"")
    assert (done.stderr == b"") == (expected is ExitCode.DONE)
    assert b"Traceback" not in done.stderr
    world.seen.append(done.stderr)
    assert world.decrypt().stdout == PLAINTEXT + b"\n"


def test_no_secret_was_logged(world: World) -> None:
    logs = [tool.log_file.read_bytes() for tool in world.deployment.tools.values()]
    assert len(world.seen) >= len(HOPS)
    secrets = {**world.deployment.secrets(), "the plaintext": PLAINTEXT, "in base64": b64encode(PLAINTEXT)}
    for name, secret in secrets.items():
        assert all(secret not in text for text in (*logs, *world.seen)), name
    assert all(b"Traceback" not in log for log in logs)
