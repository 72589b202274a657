"""One fault at a time, with real processes: doctor reports the broken hop, and only that one, as failed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import cbor2
import pytest

from nitro_simulator.clock import utc_now
from nitro_simulator.deployment import processes
from nitro_simulator.imds import ImdsMode
from nitro_simulator.kms.server import KmsServer
from nitro_simulator.nsm.authority import AttestationAuthority
from nitro_simulator.nsm.server import NsmServer
from nitro_simulator.nsm.service import SimulatedNsm
from nitro_simulator.pki.tls import TlsAuthority
from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment, credential_variables, deploy
from tests.support.enclave.scripted_enclave import Peer, ScriptedEnclave
from vsock_wire.net.address import UnixAddress
from vsock_wire.protocol.diagnosis import HopName

Done = subprocess.CompletedProcess[bytes]
PLAINTEXT = b"p1aintext-the-doctor-must-not-show"
FORBID_VSOCK = Path(__file__).parents[2] / "support" / "vsock" / "forbid_vsock.py"


@pytest.fixture(scope="module")
def shared() -> Iterator[Deployment]:
    with deploy() as started:
        yield started


class FaultyNsm(SimulatedNsm):
    """A module that starts to fail after the enclave has started."""

    fault: str | None = None

    def answer(self, request: bytes) -> bytes:
        asked = cbor2.loads(request)
        if self.fault == "attestation" and isinstance(asked, dict):
            return cbor2.dumps({"Error": "InternalError"})
        if self.fault == "random" and asked == "GetRandom":
            return cbor2.dumps({"GetRandom": {"random": bytes(256)}})
        return super().answer(request)


@contextlib.contextmanager
def _enclave_with_faulty_nsm(shared: Deployment, fault: str) -> Iterator[str]:
    nsm = FaultyNsm(AttestationAuthority.create(), module_id="i-1-enc1", pcrs={0: bytes(48)})
    address = UnixAddress(str(shared.account.directory / f"{fault}-nsm.sock"))
    with NsmServer(nsm, address):
        shared.start_enclave(fault, "--nsm", str(address))
        nsm.fault = fault
        yield fault


def _examine(shared: Deployment, *options: str, **more: Any) -> Done:
    return shared.instance("doctor", "--output", "json", *options, **more)


def _with_ciphertext(shared: Deployment, *options: str, **more: Any) -> Done:
    return _examine(shared, "--ciphertext", shared.encrypt(PLAINTEXT), *CONTEXT_OPTIONS, *options, **more)


def _with_imds(shared: Deployment, mode: ImdsMode) -> Done:
    with shared.imds_mode(mode):
        return _examine(shared)


def _with_proxy(shared: Deployment, name: str, *options: str) -> Done:
    shared.start_enclave(name, proxy_name=f"{name}-proxy")
    return _examine(shared, *options, enclave=name)


def _with_certificate(shared: Deployment, name: str, authority: TlsAuthority, host: str) -> Done:
    with shared.enclave_before_kms_with(name, authority, host):
        return _examine(shared, enclave=name)


def _closed_port(shared: Deployment) -> int:
    with KmsServer(shared.account.kms, tls=shared.account.tls.server_certificate("x")) as gone:
        return gone.port


Make = Callable[[Deployment], Done]
FAULTS: dict[str, tuple[HopName, str, Make]] = {}


def fault(name: str, hop: HopName, words: str) -> Callable[[Make], Make]:
    """Register a fault, the hop that must fail for it, and a part of the text for that hop."""

    def register(function: Make) -> Make:
        FAULTS[name] = (hop, words, function)
        return function

    return register


@fault("vsock forbidden by seccomp", HopName.VSOCK, "under Docker, pass --security-opt seccomp=FILE")
def _(shared: Deployment) -> Done:
    doctor = [processes.tool_path("kmstool-instance"), "doctor", "--cid", "16", "--output", "json"]
    return subprocess.run(
        [sys.executable, str(FORBID_VSOCK), *doctor],
        env=processes.clean_environment(shared.account.imds_environment),
        capture_output=True,
        check=False,
    )


@fault("no enclave", HopName.ENCLAVE, "nothing is listening there")
def _(shared: Deployment) -> Done:
    return _examine(shared, enclave="nobody")


@fault("kmstool in C", HopName.PROTOCOL, "kmstool in C or an older kmstool-enclave")
def _(shared: Deployment) -> Done:
    def converse(peer: Peer) -> None:
        while peer.receive() is not None:
            peer.send({"Status": "Error", "Message": "Operation not recognized"})

    return _with_scripted(shared, "old", converse)


@fault("a peer that answers garbage", HopName.PROTOCOL, "is not kmstool-enclave: check --cid and --port")
def _(shared: Deployment) -> Done:
    def converse(peer: Peer) -> None:
        peer.receive()
        peer.send_bytes(b"\x1b[31m HTTP/1.1 400\0")

    return _with_scripted(shared, "garbage", converse)


@fault("kmstool-instance serve instead of an enclave", HopName.PROTOCOL, "pass the enclave's own CID with --cid")
def _(shared: Deployment) -> Done:
    shared.start_serve()
    return _examine(shared, enclave="serve", region=False)


@fault("a region on both sides", HopName.REGION, "omit --region")
def _(shared: Deployment) -> Done:
    shared.start_enclave("regional", "--region", shared.account.region)
    return _examine(shared, enclave="regional")


@fault("a region that is misspelt", HopName.REGION, 'did you mean "us-east-1"')
def _(shared: Deployment) -> Done:
    return _examine(shared, "--region", "us-eats-1")


@fault("an invalid region", HopName.REGION, "such as us-east-1")
def _(shared: Deployment) -> Done:
    return _examine(shared, "--region", "no region")


@fault("an NSM that returns an error", HopName.NSM, "InternalError")
def _(shared: Deployment) -> Done:
    with _enclave_with_faulty_nsm(shared, "attestation") as name:
        return _examine(shared, enclave=name)


@fault("an NSM whose random bytes are zeros", HopName.ENTROPY, "do not use keys made in this one")
def _(shared: Deployment) -> Done:
    with _enclave_with_faulty_nsm(shared, "random") as name:
        return _examine(shared, enclave=name)


@fault("no proxy", HopName.PROXY, "check that vsock-proxy is running")
def _(shared: Deployment) -> Done:
    return _with_proxy(shared, "without")


@fault("a name that DNS cannot resolve", HopName.DNS, "check the VPC's DNS settings")
def _(shared: Deployment) -> Done:
    shared.start_proxy("lost-proxy", kms_port=_closed_port(shared))
    return _with_proxy(shared, "lost", "--proxy-remote", "kms.invalid")


@fault("no route to KMS", HopName.KMS, "check security groups, routes")
def _(shared: Deployment) -> Done:
    port = _closed_port(shared)
    shared.start_proxy("closed-proxy", kms_port=port)
    return _with_proxy(shared, "closed", "--proxy-remote", f"127.0.0.1:{port}")


@fault("a proxy that connects elsewhere", HopName.KMS, "the proxy does not: check its remote host")
def _(shared: Deployment) -> Done:
    shared.start_proxy("stray-proxy", kms_port=_closed_port(shared))
    return _with_proxy(shared, "stray", "--proxy-remote", f"127.0.0.1:{shared.account.kms_server.port}")


@fault("a certificate for another host", HopName.TLS, "the proxy leads to kms.eu-west-1.amazonaws.com")
def _(shared: Deployment) -> Done:
    return _with_certificate(shared, "other-host", shared.account.tls, "kms.eu-west-1.amazonaws.com")


@fault("a certificate of another authority", HopName.TLS, "unable to get local issuer certificate")
def _(shared: Deployment) -> Done:
    return _with_certificate(shared, "other-ca", TlsAuthority.create(), shared.account.kms_host)


@fault("a clock ten minutes off", HopName.CLOCK, "behind the enclave's, more than the 300 s that KMS tolerates")
def _(_: Deployment) -> Done:
    with deploy(clock=lambda: utc_now() - timedelta(minutes=10)) as elsewhere:
        return _examine(elsewhere)


@fault("metadata beyond the hop limit", HopName.IMDS, "the instance's hop limit is 2 or more")
def _(shared: Deployment) -> Done:
    return _with_imds(shared, ImdsMode.SILENT)


@fault("metadata that are turned off", HopName.IMDS, "--http-endpoint enabled")
def _(shared: Deployment) -> Done:
    return _with_imds(shared, ImdsMode.DISABLED)


@fault("an instance without a role", HopName.ROLE, "attach an instance profile")
def _(shared: Deployment) -> Done:
    return _with_imds(shared, ImdsMode.NO_ROLE)


@fault(
    "half of the credentials in the environment",
    HopName.ROLE,
    "AWS_ACCESS_KEY_ID is set but AWS_SECRET_ACCESS_KEY is not",
)
def _(shared: Deployment) -> Done:
    return _examine(shared, environment={"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE"})


@fault("another image than the key policy names", HopName.DECRYPT, "KMS was shown PCR0 ")
def _(shared: Deployment) -> Done:
    shared.start_enclave("other", "--nsm", str(shared.account.other_enclave.nsm_address))
    return _with_ciphertext(shared, enclave="other")


@fault("an enclave in debug mode", HopName.DECRYPT, "start it without --debug-mode")
def _(_: Deployment) -> Done:
    with deploy(debug=True) as elsewhere:
        return _with_ciphertext(elsewhere)


@fault(
    "another encryption context",
    HopName.DECRYPT,
    "check that the encryption context (--encryption-context, once per pair) equals",
)
def _(shared: Deployment) -> Done:
    return _with_ciphertext(shared, "--encryption-context", "more=1")


@fault("credentials that have expired", HopName.DECRYPT, "the credentials have expired")
def _(shared: Deployment) -> Done:
    expired = shared.account.issue_credentials(lifetime_s=-1)
    return _with_ciphertext(shared, environment=credential_variables(expired))


def _with_scripted(shared: Deployment, name: str, converse: Callable[[Peer], None]) -> Done:
    folder = shared.account.directory / name
    folder.mkdir()
    with ScriptedEnclave(folder, converse) as enclave:
        return processes.run_instance(
            ["--enclave", str(enclave.address), "doctor", "--output", "json"],
            environment=shared.account.imds_environment,
        )


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_reported_at_its_hop_only(shared: Deployment, name: str) -> None:
    hop, words, make = FAULTS[name]
    done = make(shared)
    assert (done.returncode, done.stderr) == (1, b"")
    report = json.loads(done.stdout)
    assert report["Ok"] is False
    (failed,) = [found for found in report["Hops"] if found["State"] == "failed"]
    assert failed["Hop"] == hop
    assert words in failed["Detail"] + failed.get("Hint", "")
    names = [found["Hop"] for found in report["Hops"]]
    assert names == [known for known in HopName if known in names], "the hops are not in order"
    states = [found["State"] for found in report["Hops"]]
    assert set(states[: states.index("failed")]) <= {"ok"}, "an earlier hop is not ok"


def test_at_least_twelve_faults_cover_every_hop() -> None:
    assert len(FAULTS) >= 12
    assert {hop for hop, _, _ in FAULTS.values()} == set(HopName)


class TestHealthyDeployment:
    def test_every_hop_is_ok_and_the_exit_code_is_0(self, shared: Deployment) -> None:
        done = _with_ciphertext(shared)
        assert (done.returncode, done.stderr) == (0, b"")
        report = json.loads(done.stdout)
        assert report["Ok"] is True
        assert [found["Hop"] for found in report["Hops"]] == list(HopName)
        assert {found["State"] for found in report["Hops"]} == {"ok"}

    def test_nothing_secret_is_in_the_report(self, shared: Deployment) -> None:
        environment = credential_variables(shared.account.issue_credentials())
        done = _with_ciphertext(shared, "-vv", environment=environment)
        assert done.returncode == 0
        for secret in (PLAINTEXT, *(value.encode() for value in environment.values())):
            assert secret not in done.stdout + done.stderr

    def test_text_report_has_one_line_per_hop_and_no_colour_in_a_pipe(self, shared: Deployment) -> None:
        done = shared.instance("doctor")
        lines = done.stdout.decode().splitlines()
        assert [line.split()[:2] for line in lines] == [["ok", hop] for hop in HopName if hop != HopName.DECRYPT]
        assert (done.returncode, done.stderr) == (0, b"")

    def test_without_a_ciphertext_no_kms_operation_is_called(self, shared: Deployment) -> None:
        before = len(shared.account.kms.journal.entries())
        assert _examine(shared).returncode == 0
        (entry,) = shared.account.kms.journal.entries()[before:]
        assert entry.operation == ""  # the request for the Date header, which has no operation

    def test_ciphertext_is_read_from_a_pipe(self, shared: Deployment) -> None:
        done = _examine(shared, "--ciphertext", "-", *CONTEXT_OPTIONS, stdin=shared.encrypt(b"x").encode())
        assert json.loads(done.stdout)["Hops"][-1] | {"Detail": ""} == {"Hop": "decrypt", "State": "ok", "Detail": ""}


class TestFailureText:
    def test_names_the_hop_the_reason_the_hint_and_the_skipped_hops(self, shared: Deployment) -> None:
        done = shared.instance("doctor", enclave="nobody")
        lines = done.stdout.decode().splitlines()
        assert lines[1].startswith("NOT OK  enclave   connect to unix:")
        assert lines[2].strip() == "-> nothing is listening there: check that the program is running and uses this path"
        assert lines[3].split() == ["-", "protocol", "not", "checked,", "because", "enclave", "failed"]
        assert (done.returncode, done.stderr) == (1, b"")

    @pytest.mark.parametrize(("no_color", "has_colour"), [("", True), ("1", False)])
    def test_is_coloured_on_a_terminal_unless_no_color_is_set(
        self, shared: Deployment, no_color: str, *, has_colour: bool
    ) -> None:
        ours, theirs = os.openpty()
        try:
            subprocess.run(
                [processes.tool_path("kmstool-instance"), "--enclave", "unix:/nobody", "doctor"],
                stdout=theirs,
                stderr=subprocess.DEVNULL,
                env=processes.clean_environment({**shared.account.imds_environment, "NO_COLOR": no_color}),
                check=False,
            )
            assert (b"\x1b[31mNOT OK" in os.read(ours, 65_536)) is has_colour
        finally:
            os.close(ours)
            os.close(theirs)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--key-id", "alias/x"], b"--key-id cannot be used without --ciphertext"),
        (["--proxy-remote", "kms.invalid:x"], b"kms.invalid:x"),
        (["--ciphertext", "not base64!"], b"CIPHERTEXT: not base64 text"),
        (["--explain"], b"error: doctor: no such option '--explain'"),
    ],
)
def test_wrong_usage_is_refused(shared: Deployment, options: list[str], words: bytes) -> None:
    done = shared.instance("doctor", *options)
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr
