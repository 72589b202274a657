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


def test_raw_output_is_the_ciphertext_itself(ask: Ask, tool: Tool) -> None:
    ask("encrypt", "--key-id", "k", "--output", "raw", stdin=b"\1")
    assert tool.out == b"\4\5\6"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("encrypt",), "--key-id: missing"),
        (("encrypt", "--key-id", "k"), "standard input: empty"),
        (("encrypt", "--key-id", "k", *["--grant-token=t"] * 11), "--grant-token: expected at most 10, got 11"),
        (("encrypt", "--key-id", "k", "--grant-token", ""), "--grant-token: empty"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused(tool: Tool, arguments: tuple[str, ...], words: str) -> None:
    assert tool.run("--cid", "16", *arguments, stdin=b"" if "empty" in words and "grant" not in words else b"x") == 2
    assert tool.out == b""
    assert words in tool.err


def test_plaintext_that_is_too_long_for_kms_is_refused_with_a_hint_about_data_keys(tool: Tool) -> None:
    assert tool.run("--cid", "16", "encrypt", "--key-id", "k", stdin=bytes(5_000)) == 2
    assert tool.err == (
        "kmstool-instance: error: standard input: longer than 4096 bytes, the most that KMS encrypts\n"
        "hint: generate a data key with genkey, encrypt with its plaintext, and store its ciphertext with the data\n"
    )
