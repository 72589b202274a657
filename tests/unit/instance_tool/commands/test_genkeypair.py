from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.instance.command_line import Ask, Tool

CONTEXT = ("--encryption-context", "a=1")


def test_genkeypair_asks_for_a_key_pair(ask: Ask, tool: Tool) -> None:
    assert ask("--key-id", "k", "genkeypair", "--key-pair-spec", "RSA_2048", *CONTEXT) == {
        "Operation": "GenerateDataKeyPair",
        "KeyId": "k",
        "KeyPairSpec": "RSA_2048",
        "EncryptionContext": {"a": "1"},
    }
    assert b"PLAINTEXT: AQID\n" in tool.out


def test_parts_go_to_files_as_bytes(ask: Ask, tool: Tool, tmp_path: Path) -> None:
    public_key = tmp_path / "public"
    arguments = ("genkeypair", "--key-id", "k", "--key-pair-spec", "RSA_2048", "--output", "raw")
    ask(*arguments, "--public-key-out", str(public_key))
    assert (tool.out, public_key.read_bytes()) == (b"\1\2\3", b"\0")
    assert tool.err.endswith("to keep the rest, pass --ciphertext-out\n")
    ask(*arguments)
    assert tool.err.endswith("to keep the rest, pass --ciphertext-out and --public-key-out\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("genkeypair", "--key-pair-spec", "RSA_2048"), "--key-id: missing"),
        (("genkeypair", "--key-id", "k"), "--key-pair-spec"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused(tool: Tool, arguments: tuple[str, ...], words: str) -> None:
    assert tool.run("--cid", "16", *arguments) == 2
    assert tool.out == b""
    assert words in tool.err
