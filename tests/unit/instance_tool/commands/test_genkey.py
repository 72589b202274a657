from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.support.enclave.scripted_enclave import Message
from tests.support.instance.command_line import Ask, Tool

CONTEXT = ("--encryption-context", "a=1")


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ((), {"KeySpec": "AES_256"}),
        (("--key-spec", "AES-128"), {"KeySpec": "AES_128"}),
        (("--key-spec", "AES_128", *CONTEXT), {"KeySpec": "AES_128", "EncryptionContext": {"a": "1"}}),
        (("--length", "57"), {"NumberOfBytes": 57}),
    ],
)
def test_genkey_asks_for_a_data_key(ask: Ask, tool: Tool, options: tuple[str, ...], asked: Message) -> None:
    assert ask("genkey", "--key-id", "k", *options) == {"Operation": "GenerateDataKey", "KeyId": "k", **asked}
    assert tool.out == b"CIPHERTEXT: BAUG\nPLAINTEXT: AQID\n"


def test_raw_output_is_the_key_itself_and_a_warning_says_how_to_keep_the_rest(ask: Ask, tool: Tool) -> None:
    ask("genkey", "--key-id", "k", "--output", "raw")
    assert tool.out == b"\1\2\3"
    assert tool.err == (
        "kmstool-instance: warning: --output raw writes only the secret part of the result:"
        " to keep the rest, pass --ciphertext-out\n"
    )
    ask("genkey", "--key-id", "k", "--output", "raw", "-q")
    assert (tool.out, tool.err) == (b"\1\2\3", "")


def test_parts_go_to_files_as_bytes(ask: Ask, tool: Tool, tmp_path: Path) -> None:
    key, sealed = tmp_path / "key", tmp_path / "sealed"
    ask("genkey", "--key-id", "k", "--output", "raw", "--out", str(key), "--ciphertext-out", str(sealed))
    assert (tool.out, tool.err) == (b"", "")
    assert (key.read_bytes(), sealed.read_bytes()) == (b"\1\2\3", b"\4\5\6")
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("genkey", "--key-id", "k", "--key-spec", "AES_256", "--length", "32"), "cannot be used together"),
        (("genkey", "--key-id", "k", "--key-spec", "RSA_2048"), "--key-spec"),
        (("genkey", "--key-id", "k", "--length", "1025"), "--length"),
        (("genkey",), "--key-id: missing"),
        (("genkey", "--key-id", "k", "--ciphertext-out", "/"), "--ciphertext-out: /: is a directory"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused(tool: Tool, arguments: tuple[str, ...], words: str) -> None:
    assert tool.run("--cid", "16", *arguments) == 2
    assert tool.out == b""
    assert words in tool.err
