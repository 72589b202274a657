from __future__ import annotations

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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("genkey", "--key-id", "k", "--key-spec", "AES_256", "--length", "32"), "cannot be used together"),
        (("genkey", "--key-id", "k", "--key-spec", "RSA_2048"), "--key-spec"),
        (("genkey", "--key-id", "k", "--length", "1025"), "--length"),
        (("genkey",), "--key-id: missing"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused(tool: Tool, arguments: tuple[str, ...], words: str) -> None:
    assert tool.run("--cid", "16", *arguments) == 2
    assert tool.out == b""
    assert words in tool.err
