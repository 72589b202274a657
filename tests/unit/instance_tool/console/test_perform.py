"""Grant tokens and dry runs of the commands that use a key; the tests of each command have the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.enclave.scripted_enclave import Message, Peer, ScriptedEnclave
from tests.support.instance.command_line import Tool

COMMANDS = {
    "Decrypt": ("decrypt", "AQID"),
    "Encrypt": ("encrypt", "--key-id", "k"),
    "GenerateDataKey": ("genkey", "--key-id", "k"),
    "GenerateDataKeyPair": ("genkeypair", "--key-id", "k", "--key-pair-spec", "RSA_2048"),
    "DeriveSharedSecret": ("derive", "--key-id", "k", "--public-key", "PEER"),
}
OK: Message = {"Status": "Ok", "Protocol": 2, "Message": "aHVudGVyMg==", "CiphertextBlob": "BAUG", "PublicKey": "AA=="}
WOULD: Message = {"Status": "Error", "Message": "x", "Service": "kms", "Code": "DryRunOperationException"}


def run(tool: Tool, folder: Path, answer: Message, *arguments: str) -> tuple[int, Message]:
    """Return the exit code and the request that the enclave got."""
    asked: list[Message] = []

    def converse(peer: Peer) -> None:
        while (request := peer.receive()) is not None:
            asked.append(request)
            peer.send(answer if request["Operation"] in COMMANDS else OK)

    (folder / "peer.der").write_bytes(b"\7")
    words = [word.replace("PEER", str(folder / "peer.der")) for word in arguments]
    with ScriptedEnclave(folder, converse) as enclave:
        code = tool.run("--enclave", str(enclave.address), *words, stdin=b"x")
    return code, asked[-1]


@pytest.mark.parametrize("operation", COMMANDS)
def test_grant_tokens_and_the_wish_for_a_dry_run_are_sent(tool: Tool, short_dir: Path, operation: str) -> None:
    options = ("--grant-token", "one", "--grant-token", "two", "--dry-run")
    code, request = run(tool, short_dir, WOULD, *COMMANDS[operation], *options)
    assert (code, tool.out) == (0, b"")
    assert tool.err == f"kmstool-instance: dry run: KMS would perform {operation}\n"
    assert (request["Operation"], request["GrantTokens"], request["DryRun"]) == (operation, ["one", "two"], True)


def test_quiet_dry_run_says_it_by_its_exit_code_alone(tool: Tool, short_dir: Path) -> None:
    assert run(tool, short_dir, WOULD, "--dry-run", "--quiet", "AQID")[0] == 0
    assert (tool.out, tool.err) == (b"", "")


@pytest.mark.parametrize("operation", COMMANDS)
def test_without_the_options_nothing_of_them_is_sent(tool: Tool, short_dir: Path, operation: str) -> None:
    code, request = run(tool, short_dir, OK, *COMMANDS[operation])
    assert code == 0
    assert request.keys().isdisjoint({"GrantTokens", "DryRun"})


def test_result_of_an_enclave_that_ignores_the_dry_run_is_dropped(tool: Tool, short_dir: Path) -> None:
    assert run(tool, short_dir, OK, "--dry-run", "AQID")[0] == 1
    assert tool.out == b""
    assert "--dry-run: Decrypt was performed anyway, and its result was discarded" in tool.err
    assert "hunter2" not in tool.err


def test_refused_dry_run_fails_as_the_request_would(tool: Tool, short_dir: Path) -> None:
    refusal = {"Status": "Error", "Message": "no", "Service": "kms", "Code": "AccessDeniedException"}
    assert run(tool, short_dir, refusal, "--dry-run", "AQID")[0] == 5
    assert tool.out == b""


def test_answer_to_a_dry_run_that_nobody_asked_for_is_a_failure(tool: Tool, short_dir: Path) -> None:
    assert run(tool, short_dir, WOULD, "AQID")[0] != 0


def test_dry_run_of_a_batch_is_refused(tool: Tool) -> None:
    assert tool.run("--cid", "16", "--batch", "--dry-run") == 2
    assert "--dry-run cannot be used with --batch" in tool.err


@pytest.mark.parametrize("arguments", [("AQID",), ("--batch",)], ids=" ".join)
def test_asymmetric_algorithm_without_a_key_is_refused_before_the_call(tool: Tool, arguments: tuple[str, ...]) -> None:
    assert tool.run("--cid", "16", *arguments, "--encryption-algorithm", "RSAES_OAEP_SHA_256") == 2
    assert tool.err == (
        "kmstool-instance: error: --encryption-algorithm: an asymmetric algorithm needs --key-id\n"
        "hint: pass --key-id with the asymmetric key: its ciphertexts do not name it\n"
    )
