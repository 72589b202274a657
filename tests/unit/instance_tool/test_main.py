from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.enclave.scripted_enclave import Peer, ScriptedEnclave
from tests.support.instance.command_line import Tool


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
    def test_exit_with_2_and_one_line_of_text(self, tool: Tool, arguments: tuple[str, ...]) -> None:
        assert tool.run(*arguments) == 2
        assert tool.out == b""
        errors = [line for line in tool.err.splitlines() if not line.startswith("hint: ")]
        assert len(errors) == 1
        assert errors[0].startswith("kmstool-instance: error: ")
        assert not errors[0].endswith(".")
        assert errors[0].isprintable()

    def test_missing_cid_is_explained(self, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        tool.run("AQID")
        assert tool.err == (
            "kmstool-instance: error: --cid: missing\n"
            "hint: nitro-cli, which would find the enclave, is not installed:"
            " pass --cid with the EnclaveCID, or set KMSTOOL_ENCLAVE\n"
        )

    def test_ciphertext_is_read_before_credentials_are_asked_for(
        self, tool: Tool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        assert tool.run("--cid", "16", "?") == 2


class TestFailures:
    def test_missing_enclave_is_exit_3(self, tool: Tool, short_dir: Path) -> None:
        assert tool.run("--enclave", f"unix:{short_dir}/nobody", "AQID") == 3
        assert tool.out == b""
        assert tool.err.startswith(f"kmstool-instance: error: connect to unix:{short_dir}/nobody: ")
        assert "\nhint: nothing is listening there" in tool.err

    def test_half_the_credentials_are_exit_4(self, tool: Tool, enclave: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        assert tool.run("--enclave", enclave, "AQID") == 4
        assert tool.out == b""

    def test_denial_by_kms_is_exit_5_with_its_whole_text(self, tool: Tool, short_dir: Path) -> None:
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

        monkeypatch.setattr("instance_tool.console.perform.encode_result", fail)
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


class TestMistypedCommands:
    @pytest.mark.parametrize(
        ("word", "meant"),
        [("doctr", "doctor"), ("Decrypt", "decrypt"), ("atest", "attest"), ("genrandm", "genrandom"), ("hlep", "help")],
    )
    def test_word_that_is_nearly_a_command_is_not_a_ciphertext(self, tool: Tool, word: str, meant: str) -> None:
        for arguments in ((word,), ("--cid", "16", word), (word, "--key-id", "k")):
            assert tool.run(*arguments) == 2
            assert tool.err.startswith(f"kmstool-instance: error: no such command '{word}'; did you mean '{meant}'")

    @pytest.mark.parametrize("word", ["AQID", "eA==", "ZGVjcnlwdA==", "decryptdecryptdecrypt"])
    def test_other_word_is_a_ciphertext(self, tool: Tool, word: str, short_dir: Path) -> None:
        assert tool.run("--enclave", f"unix:{short_dir}/nobody", word) in (2, 3)
        assert "no such command" not in tool.err

    def test_mistyped_command_of_a_subgroup_and_option_get_suggestions(self, tool: Tool) -> None:
        assert tool.run("policy", "explan") == 2
        assert "no such command 'explan'; did you mean 'explain'?" in tool.err
        assert tool.run("decrypt", "--encryption-contxt", "a=1") == 2
        assert "decrypt: no such option '--encryption-contxt'; did you mean '--encryption-context'" in tool.err


class TestHelpWord:
    @pytest.mark.parametrize("arguments", [("help",), ("--cid", "16", "help")])
    def test_alone_is_the_help_of_the_program(self, tool: Tool, arguments: tuple[str, ...]) -> None:
        assert tool.run(*arguments) == 0
        assert tool.out.startswith(b"Usage: kmstool-instance [OPTIONS] CIPHERTEXT")

    @pytest.mark.parametrize(
        ("arguments", "usage"),
        [
            (("help", "doctor"), "doctor"),
            (("help", "policy", "explain"), "policy explain"),
            (("--cid", "16", "help", "doctor"), "doctor"),
        ],
    )
    def test_with_a_command_is_the_help_of_that_command(
        self, tool: Tool, arguments: tuple[str, ...], usage: str
    ) -> None:
        assert tool.run(*arguments) == 0
        assert tool.out.startswith(f"Usage: kmstool-instance {usage} ".encode())


class TestErrorsAsJson:
    @pytest.mark.parametrize(
        ("arguments", "code", "fields"),
        [
            (("AQID",), 2, {"Error": "--cid: missing", "Code": "InvalidInput"}),
            (("--cid", "16", "--nope"), 2, {"Code": "InvalidInput"}),
            (("--enclave", "unix:/no/such", "AQID"), 3, {"Code": "EnclaveUnreachable"}),
        ],
    )
    def test_every_error_is_one_line_of_json(
        self, tool: Tool, arguments: tuple[str, ...], code: int, fields: dict[str, str]
    ) -> None:
        for output in (("--output", "json"), ("--output=json",)):
            assert tool.run(*output, *arguments) == code
            assert tool.out == b""
            assert tool.err.count("\n") == 1
            error = json.loads(tool.err)
            assert fields.items() <= error.items()
            assert error["ExitCode"] == code
            assert error["Hint"]

    def test_denial_by_kms_has_what_kms_said(self, tool: Tool, short_dir: Path) -> None:
        def converse(peer: Peer) -> None:
            peer.receive()
            peer.send({"Status": "Ok", "Protocol": 2})
            peer.receive()
            reply = {"Code": "AccessDeniedException", "Service": "kms", "HttpStatus": 400, "RequestId": "r-1"}
            reply["Reason"] = "KeyNotFound"
            peer.send({"Status": "Error", "Message": "no", "Hint": "look", **reply})

        with ScriptedEnclave(short_dir, converse) as enclave:
            assert tool.run("--enclave", str(enclave.address), "--output", "json", "AQID") == 5
        assert json.loads(tool.err) == {
            "Error": "no (HTTP 400, request id r-1)",
            "Code": "AccessDeniedException",
            "Hint": "look",
            "Service": "kms",
            "HttpStatus": 400,
            "RequestId": "r-1",
            "Reason": "KeyNotFound",
            "ExitCode": 5,
        }

    @pytest.mark.parametrize("arguments", [("--output", "json", "--output", "raw"), ("--output", "text")])
    def test_other_formats_have_text(self, tool: Tool, arguments: tuple[str, ...]) -> None:
        assert tool.run(*arguments, "AQID") == 2
        assert tool.err.startswith("kmstool-instance: error: ")
