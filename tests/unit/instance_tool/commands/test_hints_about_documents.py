"""What attest and verify advise where a document fails names options of that very command, or of nitro-cli."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from instance_tool.main import command
from tests.support.attestation.documents import PCRS, SIGNED_PCRS, make_document, root_pem
from tests.support.enclave.scripted_enclave import Peer, ScriptedEnclave
from tests.support.instance.command_line import Tool
from vsock_wire.protocol.json_codec import decode_base64, encode_base64

OF_NITRO_CLI = {"--debug-mode", "--private-key", "--signing-certificate"}
OTHER = "01" * 48


def made(seconds: int, **fields: Any) -> Callable[[bytes | None], bytes]:
    """Return a function that makes a document with a nonce, this many seconds from now."""

    def make(nonce: bytes | None) -> bytes:
        now = datetime.now(UTC) + timedelta(seconds=seconds)
        return make_document(nonce=nonce, module_id=f"at {seconds}", clock=lambda: now, **fields)

    return make


FAILURES: dict[str, tuple[Callable[[bytes | None], bytes], list[str]]] = {
    "of the future": (made(3_600), []),
    "of the future, tampered with": (lambda nonce: made(3_600)(nonce)[:-1] + b"\0", []),
    "of the past": (made(-20_000), []),
    "of the past, tampered with": (lambda nonce: made(-20_000)(nonce)[:-1] + b"\0", []),
    "too old": (made(-100), ["--max-age", "10"]),
    "too new": (made(100), ["--max-age", "10", "--leeway", "0"]),
    "another nonce": (lambda _: make_document(nonce=b"another"), ["--nonce", "00"]),
    "another image": (made(0), ["--pcr", f"0={OTHER}"]),
    "not signed": (made(0), ["--pcr", f"8={OTHER}"]),
    "debug mode": (made(0, debug=True), ["--pcr", f"0={PCRS[0].hex()}"]),
    "another signer": (made(0, pcrs=SIGNED_PCRS), ["--pcr", f"8={OTHER}"]),
    "another user data": (made(0, user_data=b"deliver=reply\nmore"), ["--user-data", "00"]),
    "more user data": (made(0, user_data=b"more\0"), ["--user-data", "00"]),
    "another key": (made(0, public_key=b"another"), ["--public-key", "/dev/null"]),
    "no document": (lambda _: b"{}", []),
    "another root": (made(0), ["--root", "AWS"]),
}


def options_of(name: str) -> set[str]:
    found = command.get_command(click.Context(command), name)
    assert found is not None
    return {flag for option in found.params for flag in option.opts}


@pytest.fixture(params=FAILURES)
def failure(request: pytest.FixtureRequest, short_dir: Path) -> tuple[Callable[[bytes | None], bytes], list[str]]:
    make, options = FAILURES[request.param]
    (short_dir / "root.pem").write_bytes(root_pem())
    root = [] if "AWS" in options else ["--root", str(short_dir / "root.pem")]
    return make, [*root, *(option for option in options if option not in ("--root", "AWS"))]


def check_names(tool: Tool, name: str) -> None:
    named = set(re.findall(r"--[a-z][a-z-]*", tool.err))
    assert named <= options_of(name) | OF_NITRO_CLI, tool.err


def test_attest_names_no_option_that_it_lacks(
    tool: Tool, short_dir: Path, failure: tuple[Callable[[bytes | None], bytes], list[str]]
) -> None:
    make, options = failure

    def converse(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            peer.send({"Status": "Ok", "Document": encode_base64(make(decode_base64(request["Nonce"])))})

    with ScriptedEnclave(short_dir, converse) as enclave:
        assert tool.run("attest", "--enclave", str(enclave.address), *options) == 1
    check_names(tool, "attest")


def test_verify_names_no_option_that_it_lacks(
    tool: Tool, short_dir: Path, failure: tuple[Callable[[bytes | None], bytes], list[str]]
) -> None:
    make, options = failure
    (short_dir / "document").write_bytes(make(b"mine"))
    assert tool.run("verify", str(short_dir / "document"), *options) in (1, 2)
    check_names(tool, "verify")
