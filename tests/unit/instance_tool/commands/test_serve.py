from __future__ import annotations

import pytest

from tests.support.instance.command_line import Tool


def test_socket_must_differ_from_the_enclaves(tool: Tool) -> None:
    assert tool.run("serve", "--enclave", "unix:/nobody", "--socket", "/nobody") == 2
    assert "--socket and --enclave name the same socket" in tool.err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--socket", "/nowhere", "--enclave-connections", "0"),
        ("--socket", "/nowhere", "--enclave-connections", "65"),
        ("--socket", "/nowhere", "--max-connections", "0"),
        ("--socket", "/nowhere", "--idle-timeout", "0"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused(tool: Tool, arguments: tuple[str, ...]) -> None:
    assert tool.run("serve", "--cid", "16", *arguments) == 2
    assert tool.out == b""
