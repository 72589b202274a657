from __future__ import annotations

import pytest

from tests.support.instance.command_line import Ask, Tool


@pytest.mark.parametrize(
    ("options", "output"),
    [
        ((), b"\1\2\3"),
        (("-n",), b"\1\2\3"),
        (("--output", "base64"), b"AQID\n"),
        (("--output", "base64", "-n"), b"AQID"),
        (("--output", "json"), b'{"Plaintext": "AQID"}\n'),
    ],
)
def test_genrandom_asks_for_random_bytes(ask: Ask, tool: Tool, options: tuple[str, ...], output: bytes) -> None:
    assert ask("genrandom", "--length", "3", *options) == {"Operation": "GenerateRandom", "NumberOfBytes": 3}
    assert tool.out == output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("genrandom",), "--length"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused(tool: Tool, arguments: tuple[str, ...], words: str) -> None:
    assert tool.run("--cid", "16", *arguments) == 2
    assert tool.out == b""
    assert words in tool.err
