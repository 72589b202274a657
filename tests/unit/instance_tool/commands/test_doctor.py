from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.enclave.scripted_enclave import Message, Peer, ScriptedEnclave
from tests.support.instance.command_line import Tool
from vsock_wire.protocol.diagnosis import Hop, HopName, HopState, encode_diagnosis

SEEN = (HopName.NSM, HopName.ENTROPY, HopName.PROXY, HopName.KMS, HopName.TLS, HopName.CLOCK)


@pytest.fixture
def replies() -> dict[str, Message]:
    """Return the replies of a healthy enclave, by operation."""
    hops = [Hop(name, HopState.OK, "seen") for name in SEEN]
    return {
        "Describe": {"Status": "Ok", "Version": "1", "Protocol": 2, "Delivery": "reply", "Region": None},
        "Diagnose": {"Status": "Ok", **encode_diagnosis("kms.example", hops)},
    }


@pytest.fixture
def chain(short_dir: Path, replies: dict[str, Message]) -> Iterator[str]:
    def converse(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            peer.send(replies[request["Operation"]])

    with ScriptedEnclave(short_dir, converse) as enclave:
        yield str(enclave.address)


def test_each_hop_is_a_line_and_success_is_exit_0(tool: Tool, chain: str) -> None:
    assert tool.run("doctor", "--enclave", chain) == 0, tool.out
    lines = tool.out.decode().splitlines()
    assert len(lines) == len(HopName) - 1  # without a Decrypt
    assert all(line.startswith("ok ") for line in lines)


def test_failed_hop_is_exit_1_with_a_hint(
    tool: Tool, chain: str, replies: dict[str, Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    hops = [Hop(HopName.NSM, HopState.FAILED, "no device", "run it in an enclave")]
    replies["Diagnose"] = {"Status": "Ok", **encode_diagnosis("kms.example", hops)}
    assert tool.run("doctor", "--enclave", chain) == 1
    assert "NOT OK  nsm       no device" in tool.out.decode()
    assert "-> run it in an enclave" in tool.out.decode()


def test_json_output_has_every_hop(tool: Tool, chain: str) -> None:
    assert tool.run("--output", "json", "doctor", "--enclave", chain) == 0
    report = json.loads(tool.out)
    assert report["Ok"] is True
    assert [hop["Hop"] for hop in report["Hops"]] == [name for name in HopName if name is not HopName.DECRYPT]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--key-id", "k"), "error: --key-id cannot be used without --ciphertext"),
        (
            ("--grant-token", "t", "--encryption-context", "a=1"),
            "error: --encryption-context and --grant-token cannot be used without --ciphertext",
        ),
        (("--ciphertext", "?"), "CIPHERTEXT: not base64 text"),
        (("--proxy-remote", "kms.invalid:x"), "kms.invalid:x"),
        (("--output", "base64"), "--output"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused(tool: Tool, arguments: tuple[str, ...], words: str) -> None:
    assert tool.run("doctor", "--cid", "16", *arguments) == 2
    assert tool.out == b""
    assert words in tool.err
