from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from instance_tool.configuration.enclave_choice import ENCLAVE_VARIABLE
from instance_tool.console.settings import ConnectionSettings, CredentialSettings
from instance_tool.errors import EnclaveError
from tests.support.enclave.scripted_enclave import Message, Peer, ScriptedEnclave
from vsock_wire.errors import CredentialsError, InputError
from vsock_wire.net.address import Address, UnixAddress, VsockAddress
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.vocabulary import Operation

REQUEST = KmsRequest(Operation.DECRYPT, {"CiphertextBlob": b"\1"})
CONNECTION: dict[str, Any] = {
    "cid": None, "port": 3_000, "enclave": None, "enclave_name": None, "trusted_uids": (), "timeout_s": 10.0,
    "verbose": 0, "quiet": False, "log_format": "text",
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "variable", "address"),
    [
        ({"cid": 16}, None, VsockAddress(16, 3_000)),
        ({"cid": 16, "port": 5_000}, "unix:/elsewhere", VsockAddress(16, 5_000)),
        ({"enclave": "unix:/here"}, "unix:/elsewhere", UnixAddress("/here")),
        ({}, "vsock://17:4000", VsockAddress(17, 4_000)),
    ],
)
def test_enclave_comes_from_the_options_or_else_the_environment(
    options: dict[str, Any], variable: str | None, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv(ENCLAVE_VARIABLE, variable)
    assert ConnectionSettings(**{**CONNECTION, **options}).enclave_address() == address


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "--cid: missing"),
        ({"cid": 16, "enclave": "unix:/x"}, "--enclave and --cid cannot be used together"),
        ({"enclave": "nonsense"}, "address"),
    ],
)
def test_missing_or_ambiguous_enclave_is_refused(
    options: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENCLAVE_VARIABLE, "")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match=words):
        ConnectionSettings(**{**CONNECTION, **options}).enclave_address()


def settings(address: Address, *, region: str | None = None, profile: str | None = None) -> CredentialSettings:
    return CredentialSettings(**{**CONNECTION, "enclave": str(address)}, region=region, profile=profile)


class Serve:
    """Answers like kmstool-instance serve, and remembers the operations of its requests."""

    def __init__(self, description: Message) -> None:
        self.asked: list[str] = []
        self._description = description

    def __call__(self, peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            self.asked.append(request["Operation"])
            is_describe = request["Operation"] == "Describe"
            peer.send(self._description if is_describe else {"Status": "Ok", "Message": "AQID", "Protocol": 2})


DESCRIPTION: Message = {"Status": "Ok", "CredentialsHeld": True, "Region": "us-east-1"}


class TestPeerWithCredentials:
    @pytest.mark.parametrize("region", [None, "us-east-1"])
    def test_is_sent_no_credentials_and_none_are_looked_up(self, short_dir: Path, region: str | None) -> None:
        serve = Serve(DESCRIPTION)
        with (
            ScriptedEnclave(short_dir, serve) as enclave,
            settings(enclave.address, region=region).new_client_with_credentials() as client,
        ):
            assert client.ask_enclave(REQUEST).secret == b"\1\2\3"
        assert serve.asked == ["Describe", "Decrypt"]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (
                {"profile": "other"},
                "^--profile cannot be used with unix:.*: kmstool-instance serve uses its own credentials$",
            ),
            ({"region": "eu-west-1"}, '^--region: unix:.* uses "us-east-1", got "eu-west-1"$'),
        ],
    )
    def test_options_for_other_credentials_or_another_region_are_refused(
        self, short_dir: Path, options: dict[str, str], words: str
    ) -> None:
        with ScriptedEnclave(short_dir, Serve(DESCRIPTION)) as enclave, pytest.raises(InputError, match=words):
            settings(enclave.address, **options).new_client_with_credentials()


@pytest.mark.parametrize(
    "description",
    [{"Status": "Ok", "Version": "1"}, {"Status": "Error", "Message": "x", "Code": "UnknownOperation"}],
)
def test_enclave_on_a_unix_socket_needs_credentials_from_here(short_dir: Path, description: Message) -> None:
    serve = Serve(description)
    with ScriptedEnclave(short_dir, serve) as enclave, pytest.raises(CredentialsError):
        settings(enclave.address).new_client_with_credentials()
    assert serve.asked == ["Describe"]


def test_error_reply_to_describe_is_raised(short_dir: Path) -> None:
    busy = {"Status": "Error", "Message": "Too many connections", "Code": "TooManyConnections"}
    with ScriptedEnclave(short_dir, Serve(busy)) as enclave, pytest.raises(EnclaveError, match="Too many"):
        settings(enclave.address).new_client_with_credentials()
