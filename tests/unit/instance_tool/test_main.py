from __future__ import annotations

import io
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from instance_tool.main import main
from tests.support.enclave.scripted_enclave import Conversation, Peer, ScriptedEnclave


@pytest.fixture(autouse=True)
def _process_state() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)
    for name in ("instance_tool", "vsock_wire"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, logging.NullHandler)]


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "theEnvSecret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "theEnvToken")


class Tool:
    """Runs kmstool-instance in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[bytes]) -> None:
        self._monkeypatch = monkeypatch
        self._capture = capture
        self.out = b""
        self.err = ""

    def run(self, *arguments: str, stdin: bytes = b"") -> int:
        self._monkeypatch.setattr(os, "_exit", sys.exit)  # which would end pytest
        self._monkeypatch.setattr(sys, "argv", ["kmstool-instance", *arguments])
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = self._capture.readouterr()
        self.out, self.err = out, err.decode()
        assert isinstance(caught.value.code, int)
        return caught.value.code


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Tool:
    return Tool(monkeypatch, capsysbinary)


@pytest.fixture
def conversation() -> Conversation:
    return Conversation(is_c=False)


@pytest.fixture
def enclave(short_dir: Path, conversation: Conversation) -> Iterator[str]:
    """The address of an enclave that decrypts AQID to "Hello, KMS!"."""
    with ScriptedEnclave(short_dir, conversation) as enclave:
        yield str(enclave.address)


def decrypt_request(conversation: Conversation) -> dict[str, object]:
    (request,) = [request for _, request in conversation.requests if request["Operation"] == "Decrypt"]
    return request


class TestDecrypt:
    def test_plaintext_and_a_newline_are_all_of_standard_output(self, tool: Tool, enclave: str) -> None:
        assert tool.run("--enclave", enclave, "AQID") == 0
        assert (tool.out, tool.err) == (b"Hello, KMS!\n", "")

    def test_without_a_newline_it_is_the_plaintext_alone(self, tool: Tool, enclave: str) -> None:
        assert tool.run("--enclave", enclave, "-n", "AQID") == 0
        assert tool.out == b"Hello, KMS!"

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--enclave", "ENCLAVE", "AQID"),
            ("AQID", "--enclave", "ENCLAVE"),
            ("decrypt", "AQID", "--enclave", "ENCLAVE"),
            ("decrypt", "--enclave", "ENCLAVE", "AQID"),
            ("--enclave", "ENCLAVE", "decrypt", "AQID"),
            ("--enclave", "ENCLAVE", "--", "AQID"),
            ("--enclave", "unix:/elsewhere", "decrypt", "AQID", "--enclave", "ENCLAVE"),
            ("--enclave=ENCLAVE", "--timeout", "5", "AQID", "--output", "raw"),
        ],
        ids=" ".join,
    )
    def test_options_stand_before_or_behind_and_decrypt_is_the_default(
        self, tool: Tool, enclave: str, arguments: tuple[str, ...]
    ) -> None:
        assert tool.run(*[argument.replace("ENCLAVE", enclave) for argument in arguments]) == 0
        assert tool.out == b"Hello, KMS!\n"

    @pytest.mark.parametrize("stdin", [b"AQID", b"AQID\n", b"AQ\nID\n"])
    def test_dash_reads_standard_input(self, tool: Tool, enclave: str, stdin: bytes) -> None:
        assert tool.run("--enclave", enclave, "-", stdin=stdin) == 0
        assert tool.out == b"Hello, KMS!\n"

    def test_base64_and_json_output_parse(self, tool: Tool, enclave: str) -> None:
        assert tool.run("--enclave", enclave, "--output", "base64", "AQID") == 0
        assert tool.out == b"SGVsbG8sIEtNUyE=\n"
        assert tool.run("--enclave", enclave, "--output", "json", "AQID") == 0
        assert json.loads(tool.out)["Plaintext"] == "SGVsbG8sIEtNUyE="

    def test_request_carries_what_the_options_say(self, tool: Tool, enclave: str, conversation: Conversation) -> None:
        options = ("--key-id", "alias/k", "--encryption-algorithm", "RSAES_OAEP_SHA_256", "--region", "eu-west-1")
        context = ("--encryption-context", "a=1", "--encryption-context", "b=x=y", "--encryption-context", "c=")
        assert tool.run("--enclave", enclave, *options, *context, "AQID") == 0
        assert decrypt_request(conversation) == {
            "Operation": "Decrypt",
            "Ciphertext": "AQID",
            "EncryptionContext": {"a": "1", "b": "x=y", "c": ""},
            "KeyId": "alias/k",
            "EncryptionAlgorithm": "RSAES_OAEP_SHA_256",
            "Accepts": ["digest"],
            "TimeoutS": 27.0,
        }

    def test_the_enclave_gets_less_time_for_kms_than_it_has_to_answer(
        self, tool: Tool, enclave: str, conversation: Conversation
    ) -> None:
        assert tool.run("--enclave", enclave, "--region", "eu-west-1", "--timeout", "4", "AQID") == 0
        assert decrypt_request(conversation)["TimeoutS"] == 3.6
        assert conversation.set_client["AwsRegion"] == "eu-west-1"

    def test_contexts_before_and_behind_the_command_are_joined(
        self, tool: Tool, enclave: str, conversation: Conversation
    ) -> None:
        arguments = ("--encryption-context", "a=1", "decrypt", "--encryption-context", "b=2", "AQID")
        assert tool.run("--enclave", enclave, *arguments) == 0
        assert decrypt_request(conversation)["EncryptionContext"] == {"a": "1", "b": "2"}

    @pytest.mark.parametrize("arguments", [("--key-id", "x", "decrypt", "--key-id", "y"), ("decrypt", "--key-id", "y")])
    def test_option_behind_the_command_counts(
        self, tool: Tool, enclave: str, conversation: Conversation, arguments: tuple[str, ...]
    ) -> None:
        assert tool.run("--enclave", enclave, *arguments, "AQID") == 0
        assert decrypt_request(conversation)["KeyId"] == "y"

    def test_region_of_the_environment_does_not_count(
        self, tool: Tool, enclave: str, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        assert tool.run("--enclave", enclave, "AQID") == 0
        assert "AwsRegion" not in conversation.set_client

    def test_most_verbose_run_shows_no_secret(self, tool: Tool, enclave: str) -> None:
        assert tool.run("--enclave", enclave, "-vvvv", "AQID") == 0
        assert "the environment" in tool.err
        for secret in ("theEnvSecret", "theEnvToken", "AKIDENV", "Hello, KMS!", "SGVsbG8sIEtNUyE="):
            assert secret not in tool.err


class TestBatch:
    @pytest.mark.parametrize("arguments", [("--batch",), ("--batch", "-"), ("decrypt", "--batch")], ids=" ".join)
    def test_lines_of_standard_input_are_decrypted(self, tool: Tool, enclave: str, arguments: tuple[str, ...]) -> None:
        assert tool.run("--enclave", enclave, *arguments, stdin=b"AQID\nAQID\n") == 0
        assert (tool.out, tool.err) == (b"Hello, KMS!\n" * 2, "")

    def test_line_that_fails_is_named_and_the_exit_code_says_so(self, tool: Tool, enclave: str) -> None:
        assert tool.run("--enclave", enclave, "--batch", stdin=b"AQID\n?\nAQID\nBAUG\n") == 1
        assert tool.out == b"Hello, KMS!\n" * 2
        errors = [line for line in tool.err.splitlines() if not line.startswith("hint: ")]
        assert errors[0].startswith("kmstool-instance: error: line 2: CIPHERTEXT: expected")
        assert errors[1].startswith("kmstool-instance: error: line 4: Could not decrypt ciphertext")
        assert len(errors) == 2


class TestDescribe:
    def test_prints_json_and_needs_no_credentials(
        self, tool: Tool, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")

        def converse(peer: Peer) -> None:
            peer.receive()
            peer.send({"Status": "Ok", "Version": "1\x1b[2J"})

        with ScriptedEnclave(short_dir, converse) as enclave:
            assert tool.run("--enclave", str(enclave.address), "describe") == 0
        assert json.loads(tool.out) == {"Version": "1\x1b[2J"}
        assert b"\x1b" not in tool.out


class TestUsageErrors:
    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("--cid", "16"),
            ("AQID",),
            ("--cid", "x", "AQID"),
            ("--cid", "-1", "AQID"),
            ("--cid", "4294967296", "AQID"),
            ("--cid", "16", "--port", "-1", "AQID"),
            ("--cid", "16", "--enclave", "unix:/x", "AQID"),
            ("--enclave", "nonsense", "AQID"),
            ("--cid", "16", "--nope", "AQID"),
            ("--cid", "16", "--output", "xml", "AQID"),
            ("--cid", "16", "--timeout", "0", "AQID"),
            ("--cid", "16", "--timeout", "nan", "AQID"),
            ("--cid", "16", "--timeout", "inf", "AQID"),
            ("--cid", "16", "--timeout", "1e20", "AQID"),
            ("--cid", "16", "AQID", "extra"),
            ("--cid", "16", ""),
            ("--cid", "16", "?"),
            ("--cid", "16", "AQID="),
            ("--cid", "16", "-"),
            ("--cid", "16", "--encryption-context", "a", "AQID"),
            ("--cid", "16", "--encryption-context", "=1", "AQID"),
            ("--cid", "16", "--encryption-context", "a=1", "--encryption-context", "a=2", "AQID"),
            ("--cid", "16", "--encryption-context", "a=\udcff", "AQID"),
            ("--cid", "16", "--key-id", "\udcff", "AQID"),
            ("--cid", "16", "--region", "\udcff", "AQID"),
            ("--cid", "16", "--batch", "AQID"),
            ("describe",),
            ("describe", "--cid", "16", "extra"),
            ("--cid", "16", "A" * 8_196),
        ],
        ids=lambda arguments: ascii(" ".join(arguments))[:50],
    )
    def test_exit_with_2_and_one_line_and_print_nothing(self, tool: Tool, arguments: tuple[str, ...]) -> None:
        assert tool.run(*arguments) == 2
        assert tool.out == b""
        errors = [line for line in tool.err.splitlines() if not line.startswith("hint: ")]
        assert len(errors) == 1
        assert errors[0].startswith("kmstool-instance: error: ")
        assert not errors[0].endswith(".")
        assert errors[0].isprintable()

    def test_missing_cid_is_explained(self, tool: Tool) -> None:
        tool.run("AQID")
        assert tool.err == (
            "kmstool-instance: error: --cid: expected the vsock CID of the enclave, got none\n"
            "hint: nitro-cli describe-enclaves shows EnclaveCID\n"
        )

    def test_ciphertext_is_read_before_credentials_are_asked_for(
        self, tool: Tool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        assert tool.run("--cid", "16", "?") == 2


class TestFailures:
    def test_enclave_that_is_not_there_is_exit_3(self, tool: Tool, short_dir: Path) -> None:
        assert tool.run("--enclave", f"unix:{short_dir}/nobody", "AQID") == 3
        assert tool.out == b""
        assert tool.err.startswith(f"kmstool-instance: error: connect to unix:{short_dir}/nobody: ")
        assert "\nhint: nothing listens there" in tool.err

    def test_half_the_credentials_are_exit_4(self, tool: Tool, enclave: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        assert tool.run("--enclave", enclave, "AQID") == 4
        assert tool.out == b""

    def test_refusal_of_kms_is_exit_5_with_everything_it_said(self, tool: Tool, short_dir: Path) -> None:
        def converse(peer: Peer) -> None:
            peer.receive()
            peer.send({"Status": "Ok", "Protocol": 2})
            peer.receive()
            reply = {"Message": "Could not decrypt ciphertext: AccessDeniedException: no", "HttpStatus": 400}
            peer.send({"Status": "Error", "Code": "AccessDeniedException", "Service": "kms", "Hint": "look", **reply})

        with ScriptedEnclave(short_dir, converse) as enclave:
            assert tool.run("--enclave", str(enclave.address), "AQID") == 5
        assert tool.out == b""
        assert tool.err == (
            "kmstool-instance: error: Could not decrypt ciphertext: AccessDeniedException: no (HTTP 400)\nhint: look\n"
        )

    def test_terminal_escapes_of_the_enclave_are_printed_harmlessly(self, tool: Tool, short_dir: Path) -> None:
        def converse(peer: Peer) -> None:
            while peer.receive() is not None:
                peer.send({"Status": "Error", "Message": "bad\x1b]0;x\x07\nhint: forged\u202e", "Hint": "\x1b[2J\r"})

        with ScriptedEnclave(short_dir, converse) as enclave:
            assert tool.run("--enclave", str(enclave.address), "AQID") == 1
        assert tool.err == ("kmstool-instance: error: bad\\x1b]0;x\\x07\\nhint: forged\\u202e\nhint: \\x1b[2J\\r\n")

    def test_65_kib_ciphertext_is_refused_before_anything_is_sent(self, tool: Tool, enclave: str) -> None:
        assert tool.run("--enclave", enclave, "-", stdin=b"A" * 66_560) == 2
        assert tool.out == b""

    def test_internal_error_shows_no_text(self, tool: Tool, enclave: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> bytes:
            raise KeyError("the secret")

        monkeypatch.setattr("instance_tool.commands.operations.encode_result", fail)
        assert tool.run("--enclave", enclave, "AQID") == 1
        assert "internal error: KeyError" in tool.err
        assert "the secret" not in tool.err


@pytest.mark.parametrize("option", ["-h", "--help", "--version"])
def test_help_and_version_go_to_standard_output(tool: Tool, option: str) -> None:
    assert tool.run(option) == 0
    assert b"kmstool-instance" in tool.out
    assert tool.err == ""


def test_help_of_a_command_shows_its_options(tool: Tool) -> None:
    assert tool.run("decrypt", "--help") == 0
    assert b"--encryption-context" in tool.out
