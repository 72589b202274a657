from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.instance.command_line import Ask, Tool


def test_derive_asks_for_a_shared_secret(ask: Ask, tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "peer.der").write_bytes(b"\7\7\7")
    assert ask("derive", "--key-id", "k", "--public-key", str(tmp_path / "peer.der")) == {
        "Operation": "DeriveSharedSecret",
        "KeyId": "k",
        "PublicKey": "BwcH",
        "KeyAgreementAlgorithm": "ECDH",
    }
    assert tool.out == b"\1\2\3"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("derive", "--key-id", "k", "--public-key", "/nobody"), "--public-key: /nobody: no such file or directory"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused(tool: Tool, arguments: tuple[str, ...], words: str) -> None:
    assert tool.run("--cid", "16", *arguments) == 2
    assert tool.out == b""
    assert words in tool.err
