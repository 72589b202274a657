from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.attestation.documents import MODULE_ID, make_document, root_pem
from tests.support.enclave.scripted_enclave import Message, Peer, ScriptedEnclave
from tests.support.instance.command_line import Tool
from vsock_wire.protocol.json_codec import decode_base64, encode_base64


class Enclave:
    """Answers with an attestation document that has the given nonce, and remembers requests."""

    def __init__(self) -> None:
        self.asked: list[Message] = []

    def __call__(self, peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            self.asked.append(request)
            document = make_document(nonce=decode_base64(request["Nonce"]))
            peer.send({"Status": "Ok", "Document": encode_base64(document)})


@pytest.fixture
def attesting() -> Enclave:
    return Enclave()


@pytest.fixture
def options(short_dir: Path, attesting: Enclave) -> Iterator[list[str]]:
    """Return options with the enclave's address and its root."""
    (short_dir / "root.pem").write_bytes(root_pem())
    with ScriptedEnclave(short_dir, attesting) as enclave:
        yield ["--enclave", str(enclave.address), "--root", str(short_dir / "root.pem")]


def test_document_with_a_fresh_nonce_is_verified_without_credentials(
    tool: Tool, options: list[str], attesting: Enclave, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    for _ in range(2):
        assert tool.run("attest", *options) == 0, tool.err
        assert MODULE_ID.encode() in tool.out
    nonces = [decode_base64(request["Nonce"]) for request in attesting.asked]
    assert [len(nonce) for nonce in nonces] == [32, 32]
    assert nonces[0] != nonces[1]


def test_document_is_written_in_the_output_format_and_saved(
    tool: Tool, options: list[str], attesting: Enclave, tmp_path: Path
) -> None:
    saved = tmp_path / "document.cbor"
    more = ("--nonce", "abcd", "--user-data", "c0de", "--save", str(saved))
    assert tool.run("attest", *options, *more, "--output", "base64") == 0, tool.err
    assert decode_base64(tool.out.decode().strip()) == saved.read_bytes()
    assert attesting.asked == [
        {
            "Operation": "GetAttestationDocument",
            "Nonce": encode_base64(b"\xab\xcd"),
            "UserData": encode_base64(b"\xc0\xde"),
        }
    ]
    assert tool.run("attest", *options, "--output", "json") == 0
    assert json.loads(tool.out)["Verified"] is True


@pytest.mark.parametrize("option", ["--nonce", "--user-data"])
def test_invalid_hexadecimal_is_refused(tool: Tool, options: list[str], attesting: Enclave, option: str) -> None:
    assert tool.run("attest", *options, option, "xy") == 2
    assert f"{option}: expected two hexadecimal digits per byte" in tool.err
    assert attesting.asked == []
