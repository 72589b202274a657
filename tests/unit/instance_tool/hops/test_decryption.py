from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from instance_tool.client.client import EnclaveClient
from instance_tool.hops.decryption import try_decrypt
from tests.support.attestation.documents import PCRS, make_document
from tests.support.enclave.scripted_enclave import Message, Peer, ScriptedEnclave
from vsock_wire.protocol.diagnosis import Hop, HopState
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.vocabulary import Operation

PCR0 = PCRS[0].hex()


def denied(folder: Path, *, document: bytes | None, **fields: str) -> Hop:
    """Return the hop of a Decrypt that KMS denies after the enclave has shown it a document."""
    evidence = (
        [{"Step": "Attested", "Document": b64encode(document).decode(), "IsReused": False, "ElapsedMs": 1.0}]
        if (document)
        else []
    )
    reply: Message = {"Status": "Error", "Message": "x", "Service": "kms", "Hint": "its own", "Evidence": evidence}

    def converse(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            decrypts = request["Operation"] == Operation.DECRYPT
            peer.send({**reply, **fields} if decrypts else {"Status": "Ok", "Protocol": 2})

    with ScriptedEnclave(folder, converse) as enclave, EnclaveClient(enclave.address, timeout_s=5.0) as client:
        client.set_credentials(Credentials("AKIDEXAMPLE", "secret"), None)
        hop = try_decrypt(client, KmsRequest(Operation.DECRYPT, {"CiphertextBlob": b"x"}))
    assert hop.state is HopState.FAILED
    return hop


@pytest.mark.parametrize(
    "fields", [{}, {"Reason": "NoResourcePolicyAllows"}, {"Reason": "DenyInResourcePolicy"}], ids=str
)
def test_denial_by_the_key_policy_is_explained_by_what_kms_was_shown(short_dir: Path, fields: dict[str, str]) -> None:
    hop = denied(short_dir, document=make_document(), Code="AccessDeniedException", **fields)
    assert f"KMS was shown PCR0 {PCR0}" in (hop.hint or "")


@pytest.mark.parametrize(
    "fields",
    [
        {"Code": "AccessDeniedException", "Reason": "NoIdentityPolicyAllows"},
        {"Code": "AccessDeniedException", "Reason": "DenyInVpcEndpointPolicy"},
        {"Code": "AccessDeniedException", "Reason": "KeyNotFound"},
        {"Code": "DisabledException"},
    ],
    ids=str,
)
def test_any_other_refusal_keeps_the_hint_of_its_reason(short_dir: Path, fields: dict[str, str]) -> None:
    assert denied(short_dir, document=make_document(), **fields).hint == "its own"


def test_denial_of_an_enclave_in_debug_mode_says_so(short_dir: Path) -> None:
    hop = denied(short_dir, document=make_document(debug=True), Code="AccessDeniedException")
    assert "runs in debug mode" in (hop.hint or "")


def test_denial_without_a_document_or_with_a_malformed_one(short_dir: Path) -> None:
    assert denied(short_dir, document=None, Code="AccessDeniedException").hint == "its own"


def test_malformed_document_is_named(short_dir: Path) -> None:
    hop = denied(short_dir, document=b"x", Code="AccessDeniedException")
    assert "the enclave sent KMS a malformed attestation document" in (hop.hint or "")
