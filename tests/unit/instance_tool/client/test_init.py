"""A program on the parent that uses ``instance_tool.client``. tests/architecture checks its names."""

from __future__ import annotations

from pathlib import Path

import pytest

from instance_tool.client import Credentials, EnclaveClient, KmsRequest, Operation, UnixAddress
from tests.support.enclave.scripted_enclave import Conversation, ScriptedEnclave

CREDENTIALS = Credentials("AKIDEXAMPLE", "theSecret")


def test_program_decrypts_with_public_names_alone(short_dir: Path) -> None:
    conversation = Conversation(is_c=False)
    with (
        ScriptedEnclave(short_dir, conversation) as enclave,
        EnclaveClient(UnixAddress(enclave.address.path), credentials=CREDENTIALS, region="eu-west-1") as client,
    ):
        result = client.ask_enclave(KmsRequest(Operation.DECRYPT, {"CiphertextBlob": b"\1\2\3"}))
    assert result.secret == b"Hello, KMS!"
    assert conversation.set_client["AwsRegion"] == "eu-west-1"


def test_mistakes_are_reported_where_they_are_made() -> None:
    with pytest.raises(TypeError, match=r"^address: expected what parse_address returns, got str$"):
        EnclaveClient("vsock://16:3000")  # type: ignore[arg-type] # that is what is tested
    with pytest.raises(TypeError, match=r"^credentials: expected Credentials or a CredentialSource, got dict$"):
        EnclaveClient(UnixAddress("/nobody"), credentials={})  # type: ignore[arg-type] # that is what is tested
    with pytest.raises(ValueError, match=r"^timeout_s: expected more than 0, got 0$"):
        EnclaveClient(UnixAddress("/nobody"), timeout_s=0)
