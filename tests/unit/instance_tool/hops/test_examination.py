from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from instance_tool.client.client import EnclaveClient
from instance_tool.credentials.found import FoundCredentials
from instance_tool.credentials.region import RegionSource
from instance_tool.errors import NoCredentialsError, RoleError
from instance_tool.hops.examination import Chain, examine
from tests.support.enclave.scripted_enclave import Message, Peer, ScriptedEnclave
from vsock_wire.errors import CredentialsError
from vsock_wire.net.address import TcpAddress
from vsock_wire.protocol.diagnosis import Hop, HopName, HopState, encode_diagnosis
from vsock_wire.protocol.messages import Credentials

NO_ANSWER = CredentialsError("IMDS: no answer", provider="IMDS")
NO_ROLE = RoleError("IMDS: no role")
BAD_PROFILE = CredentialsError("credential chain, sso (AWS_PROFILE): no token", provider="sso", variable="AWS_PROFILE")
DESCRIPTION = {"Version": "1", "Protocol": 2, "Delivery": "reply", "Region": None}
SEEN = [HopName.NSM, HopName.ENTROPY, HopName.PROXY, HopName.KMS, HopName.TLS, HopName.CLOCK]
ALL_OK = tuple(Hop(name, HopState.OK, "seen") for name in SEEN)
CREDENTIALS = Credentials("AKIDEXAMPLE", "secret", expiration="2030-01-01T00:00:00Z")


def find() -> FoundCredentials:
    return FoundCredentials(CREDENTIALS, "the environment")


def look(folder: Path, answers: dict[str, Message], **options: Any) -> dict[HopName, Hop]:
    """Return the hops for an enclave with these ``answers``, by operation, and check the order of the hops."""

    def converse(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            peer.send(answers[request["Operation"]])

    with ScriptedEnclave(folder, converse) as enclave, EnclaveClient(enclave.address, timeout_s=5.0) as client:
        hops = list(
            examine(Chain(client, **{"region": RegionSource("us-east-1"), "find_credentials": find, **options}))
        )
    assert [hop.name for hop in hops] == [name for name in HopName if name in {hop.name for hop in hops}]
    return {hop.name: hop for hop in hops}


def sound(*hops: Hop, host: str = "kms.us-east-1.amazonaws.com") -> dict[str, Message]:
    diagnosis = {"Status": "Ok", **encode_diagnosis(host, hops or ALL_OK)}
    return {"Describe": {"Status": "Ok", **DESCRIPTION}, "Diagnose": diagnosis}


def failed(hops: dict[HopName, Hop]) -> Hop:
    (hop,) = [hop for hop in hops.values() if hop.state is HopState.FAILED]
    return hop


def test_all_hops_of_a_working_chain_are_ok(short_dir: Path) -> None:
    assert {hop.state for hop in look(short_dir, sound()).values()} == {HopState.OK}


def test_busy_enclave_fails_as_enclave(short_dir: Path) -> None:
    busy = {"Status": "Error", "Message": "Too many connections", "Code": "TooManyConnections", "Hint": "try again"}
    hop = failed(look(short_dir, {"Describe": busy}))
    assert (hop.name, hop.hint) == (HopName.ENCLAVE, "try again")


def test_older_enclave_without_diagnose_fails_as_protocol(short_dir: Path) -> None:
    unknown = {"Status": "Error", "Message": "Operation not recognized", "Code": "UnknownOperation"}
    hops = look(short_dir, {**sound(), "Diagnose": unknown})
    assert failed(hops).name is HopName.PROTOCOL
    assert {hops[name].state for name in SEEN} == {HopState.SKIPPED}


@pytest.mark.parametrize("region", [5, ["us-east-1"]])
def test_malformed_description_fails_as_protocol(short_dir: Path, region: object) -> None:
    answers = sound()
    answers["Describe"]["Region"] = region
    assert failed(look(short_dir, answers)).name is HopName.PROTOCOL


@pytest.mark.parametrize("diagnosis", [{}, {"Hops": [], "KmsHost": 5}, {"Hops": [{"Hop": "nsm"}], "KmsHost": "x"}])
def test_malformed_diagnosis_fails_as_protocol(short_dir: Path, diagnosis: Message) -> None:
    answers = {**sound(), "Diagnose": {"Status": "Ok", **diagnosis}}
    assert failed(look(short_dir, answers)).name is HopName.PROTOCOL


def test_hops_that_the_enclave_leaves_out_count_as_skipped(short_dir: Path) -> None:
    hops = look(short_dir, sound(*ALL_OK[:2]))
    assert {hops[name].state for name in (HopName.PROXY, HopName.DNS, HopName.KMS, HopName.TLS)} == {HopState.SKIPPED}


@pytest.mark.parametrize(
    "host",
    [
        *(":", "a b", "x" * 300, "kms.example", "[::1]", "169.254.169.254:80", "localhost:6379"),
        *("kms.us-east-1.amazonaws.com:\u00b2", "kms.us-east-1.amazonaws.com:99999", "kms.us-east-1.amazonaws.com:"),
        *("kms.eu-west-1.amazonaws.com", "kms.us-east-1.amazonaws.com.evil.example", "xkms.us-east-1.amazonaws.com"),
    ],
)
def test_host_that_the_region_does_not_name_is_not_connected_to(
    short_dir: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **_options: object) -> None:
        pytest.fail(f"looked up {arguments}")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    lost = (*ALL_OK[:3], Hop(HopName.KMS, HopState.FAILED, "closed", "look"), Hop.skipped(HopName.TLS, HopName.KMS))
    hops = look(short_dir, sound(*lost, host=host))
    hop = failed(hops)
    assert (hop.name, hop.detail, hop.hint) == (HopName.KMS, "closed", "look")
    assert hops[HopName.DNS].state is HopState.SKIPPED
    assert "is not a host of KMS in" in hops[HopName.DNS].detail


@pytest.mark.parametrize("number", [10**400, 1e308, -1, float("nan"), 86_400_001])
@pytest.mark.parametrize("field", ["ElapsedMs", "Protocol", "Version", "Delivery"])
def test_number_of_any_size_does_not_stop_it(short_dir: Path, field: str, number: float) -> None:
    answers = sound()
    if field == "ElapsedMs":
        answers["Diagnose"]["Hops"][0]["ElapsedMs"] = number
    else:
        answers["Describe"][field] = number
    hops = look(short_dir, answers)
    assert hops[HopName.ROLE].state is HopState.OK


def test_silent_resolver_times_out(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr("instance_tool.hops.kms.RESOLVE_TIMEOUT_S", 0.01)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: released.wait() and [])
    lost = (*ALL_OK[:3], Hop(HopName.KMS, HopState.FAILED, "closed"))
    hop = failed(look(short_dir, sound(*lost)))
    released.set()
    assert (hop.name, hop.detail) == (HopName.DNS, "resolve kms.us-east-1.amazonaws.com: no answer within 0.01 s")


def test_kms_that_this_instance_reaches_points_at_the_proxy(short_dir: Path) -> None:
    lost = (*ALL_OK[:3], Hop(HopName.KMS, HopState.FAILED, "closed"), Hop.skipped(HopName.TLS, HopName.KMS))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = TcpAddress("127.0.0.1", listener.getsockname()[1])
        hop = failed(look(short_dir, sound(*lost), kms_address=address))
    assert (hop.name, hop.detail) == (HopName.KMS, "closed")
    assert hop.hint is not None
    assert "the proxy does not" in hop.hint


class TestCredentials:
    def test_credentials_in_the_environment_need_no_metadata(self, short_dir: Path) -> None:
        hops = look(short_dir, sound())
        assert hops[HopName.IMDS].detail == "not needed: credentials come from the environment"
        assert hops[HopName.ROLE].detail == "the environment, until 2030-01-01T00:00:00Z"

    @pytest.mark.parametrize(
        ("error", "failures"),
        [
            (NoCredentialsError(NO_ANSWER), {HopName.IMDS: NO_ANSWER}),
            (NoCredentialsError(NO_ANSWER, BAD_PROFILE), {HopName.IMDS: NO_ANSWER, HopName.ROLE: BAD_PROFILE}),
            (NoCredentialsError(NO_ROLE), {HopName.ROLE: NoCredentialsError(NO_ROLE)}),
            (NoCredentialsError(NO_ROLE, BAD_PROFILE), {HopName.ROLE: BAD_PROFILE}),
            (NO_ROLE, {HopName.ROLE: NO_ROLE}),
            (BAD_PROFILE, {HopName.ROLE: BAD_PROFILE}),
            (CredentialsError("environment: half"), {HopName.ROLE: CredentialsError("environment: half")}),
        ],
        ids=str,
    )
    def test_missing_credentials_fail_where_they_were_sought(
        self, short_dir: Path, error: CredentialsError, failures: dict[HopName, CredentialsError]
    ) -> None:
        def find_none() -> FoundCredentials:
            raise error

        hops = look(short_dir, sound(), find_credentials=find_none)
        failed_hops = {name: hop.detail for name, hop in hops.items() if hop.state is HopState.FAILED}
        assert failed_hops == {name: str(failure) for name, failure in failures.items()}
