from __future__ import annotations

import pytest

from tests.support.instance.command_line import Ask, Tool

CONTEXT = ("--encryption-context", "a=1")


def test_encrypt_encrypts_standard_input(ask: Ask, tool: Tool) -> None:
    algorithm = ("--encryption-algorithm", "RSAES_OAEP_SHA_256")
    assert ask("encrypt", "--key-id", "k", *algorithm, *CONTEXT, stdin=b"\1\2\3") == {
        "Operation": "Encrypt",
        "KeyId": "k",
        "Plaintext": "AQID",
        "EncryptionContext": {"a": "1"},
        "EncryptionAlgorithm": "RSAES_OAEP_SHA_256",
    }
    assert tool.out == b"BAUG\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("encrypt",), "--key-id: missing"),
        (("encrypt", "--key-id", "k"), "standard input: empty"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused(tool: Tool, arguments: tuple[str, ...], words: str) -> None:
    assert tool.run("--cid", "16", *arguments) == 2
    assert tool.out == b""
    assert words in tool.err
