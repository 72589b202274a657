from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.support.enclave.scripted_enclave import Conversation, Peer, ScriptedEnclave
from tests.support.instance.command_line import Tool


def decrypt_request(conversation: Conversation) -> dict[str, object]:
    (request,) = [request for _, request in conversation.requests if request["Operation"] == "Decrypt"]
    return request


class TestDecrypt:
    def test_standard_output_is_the_plaintext_and_a_newline(self, tool: Tool, enclave: str) -> None:
        assert tool.run("--enclave", enclave, "AQID") == 0
        assert (tool.out, tool.err) == (b"Hello, KMS!\n", "")

    def test_without_a_newline_standard_output_is_the_plaintext(self, tool: Tool, enclave: str) -> None:
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
    def test_options_may_come_before_or_after_and_decrypt_is_the_default(
        self, tool: Tool, enclave: str, arguments: tuple[str, ...]
    ) -> None:
        assert tool.run(*[argument.replace("ENCLAVE", enclave) for argument in arguments]) == 0
        assert tool.out == b"Hello, KMS!\n"

    @pytest.mark.parametrize("stdin", [b"AQID", b"AQID\n", b"AQ\nID\n"])
    def test_dash_reads_standard_input(self, tool: Tool, enclave: str, stdin: bytes) -> None:
        assert tool.run("--enclave", enclave, "-", stdin=stdin) == 0
        assert tool.out == b"Hello, KMS!\n"

    @pytest.mark.parametrize(("options", "content"), [((), b"Hello, KMS!\n"), (("-n",), b"Hello, KMS!")])
    def test_out_writes_what_standard_output_would_have(
        self, tool: Tool, enclave: str, tmp_path: Path, options: tuple[str, ...], content: bytes
    ) -> None:
        path = tmp_path / "plaintext"
        assert tool.run("--enclave", enclave, "--out", str(path), *options, "AQID") == 0
        assert (tool.out, tool.err, path.read_bytes()) == (b"", "", content)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_failed_decrypt_leaves_no_file(self, tool: Tool, enclave: str, tmp_path: Path) -> None:
        assert tool.run("--enclave", enclave, "--out", str(tmp_path / "plaintext"), "BAUG") == 1
        assert list(tmp_path.iterdir()) == []

    def test_out_that_is_a_directory_is_refused_before_the_enclave_is_asked(
        self, tool: Tool, enclave: str, tmp_path: Path, conversation: Conversation
    ) -> None:
        assert tool.run("--enclave", enclave, "--out", str(tmp_path), "AQID") == 2
        assert tool.err.startswith(f"kmstool-instance: error: --out: {tmp_path}: is a directory\nhint: ")
        assert conversation.requests == []

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

    def test_the_enclave_gets_less_time_for_kms_than_for_its_reply(
        self, tool: Tool, enclave: str, conversation: Conversation
    ) -> None:
        assert tool.run("--enclave", enclave, "--region", "eu-west-1", "--timeout", "4", "AQID") == 0
        assert decrypt_request(conversation)["TimeoutS"] == 3.6
        assert conversation.set_client["AwsRegion"] == "eu-west-1"

    def test_contexts_before_and_after_the_command_are_joined(
        self, tool: Tool, enclave: str, conversation: Conversation
    ) -> None:
        arguments = ("--encryption-context", "a=1", "decrypt", "--encryption-context", "b=2", "AQID")
        assert tool.run("--enclave", enclave, *arguments) == 0
        assert decrypt_request(conversation)["EncryptionContext"] == {"a": "1", "b": "2"}

    @pytest.mark.parametrize("arguments", [("--key-id", "x", "decrypt", "--key-id", "y"), ("decrypt", "--key-id", "y")])
    def test_option_after_the_command_wins(
        self, tool: Tool, enclave: str, conversation: Conversation, arguments: tuple[str, ...]
    ) -> None:
        assert tool.run("--enclave", enclave, *arguments, "AQID") == 0
        assert decrypt_request(conversation)["KeyId"] == "y"

    def test_region_of_the_environment_is_sent_unless_an_option_gives_another(
        self, tool: Tool, enclave: str, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        assert tool.run("--enclave", enclave, "AQID") == 0
        assert conversation.set_client["AwsRegion"] == "eu-west-1"
        conversation.requests.clear()
        assert tool.run("--enclave", enclave, "--region", "eu-north-1", "AQID") == 0
        assert conversation.set_client["AwsRegion"] == "eu-north-1"

    @pytest.mark.parametrize("text", ["us-east-1a", "US-EAST-1", "s3", "us-east-1.evil.example", "us east 1"])
    def test_region_that_can_be_none_is_refused_before_anything_is_decrypted(
        self, tool: Tool, enclave: str, conversation: Conversation, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        monkeypatch.setenv("AWS_REGION", text)
        assert tool.run("--enclave", enclave, "AQID") == 2
        assert f'error: AWS_REGION: expected the name of an AWS region, got "{text}"' in tool.err
        assert tool.run("--enclave", enclave, "--region", text, "AQID") == 2
        assert f'error: --region: expected the name of an AWS region, got "{text}"' in tool.err
        assert "Decrypt" not in {operation for _, operation in conversation.operations}

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

    def test_out_has_a_line_for_each_line(self, tool: Tool, enclave: str, tmp_path: Path) -> None:
        path = tmp_path / "plaintexts"
        assert tool.run("--enclave", enclave, "--batch", "--out", str(path), stdin=b"AQID\n?\nAQID\n") == 1
        assert (tool.out, path.read_bytes()) == (b"", b"Hello, KMS!\n\nHello, KMS!\n")

    def test_line_that_fails_is_named_and_the_exit_code_says_so(self, tool: Tool, enclave: str) -> None:
        assert tool.run("--enclave", enclave, "--batch", stdin=b"AQID\n?\nAQID\nBAUG\n") == 1
        assert tool.out == b"Hello, KMS!\n\nHello, KMS!\n\n"
        errors = [line for line in tool.err.splitlines() if not line.startswith("hint: ")]
        assert errors[0].startswith("kmstool-instance: error: line 2: CIPHERTEXT: not base64 text")
        assert errors[1].startswith("kmstool-instance: error: line 4: Could not decrypt ciphertext")
        assert len(errors) == 2


class TestContext:
    @pytest.mark.parametrize(
        ("options", "context"),
        [
            (("-e", "a=1", "-e", "b=x=y"), {"a": "1", "b": "x=y"}),
            (("--encryption-context", '{"a": "1", "b": "x=y"}'), {"a": "1", "b": "x=y"}),
            (("--encryption-context", "A=1,B=2"), {"A": "1,B=2"}),
        ],
    )
    def test_is_sent_as_given(
        self, tool: Tool, enclave: str, conversation: Conversation, options: tuple[str, ...], context: dict[str, str]
    ) -> None:
        assert tool.run("--enclave", enclave, *options, "AQID") == 0
        assert decrypt_request(conversation)["EncryptionContext"] == context

    @pytest.mark.parametrize(
        ("reply", "is_hinted"),
        [
            ({"Code": "InvalidCiphertextException", "Service": "kms", "Hint": "look"}, True),
            ({"Code": "AccessDeniedException", "Service": "kms"}, True),
            ({"Message": "Could not decrypt ciphertext"}, True),
            ({"Code": "ThrottlingException", "Service": "kms"}, False),
            ({"Code": "InvalidCiphertextException", "Service": "enclave"}, False),
        ],
    )
    def test_refusal_of_several_pairs_in_one_says_so(
        self, tool: Tool, short_dir: Path, reply: dict[str, str], *, is_hinted: bool
    ) -> None:
        def converse(peer: Peer) -> None:
            while (request := peer.receive()) is not None:
                is_decrypt = request["Operation"] == "Decrypt"
                peer.send({"Status": "Error", "Message": "no", **reply} if is_decrypt else {"Status": "Ok"})

        with ScriptedEnclave(short_dir, converse) as enclave:
            arguments = ("--enclave", str(enclave.address), "--encryption-context", "A=1,B=2")
            assert tool.run(*arguments, "AQID") in (1, 5)
            one = tool.err
            tool.run(*arguments, "--batch", stdin=b"AQID\n")
        for text in (one, tool.err):
            assert ("hint: --encryption-context A=1,B=2 was taken as one pair: for several, pass " in text) is is_hinted
            assert ('--encryption-context \'{"A":"1","B":"2"}\'' in text) is is_hinted
            assert ("; look\n" in text) is (reply.get("Hint") == "look")


class TestUnderItsCName:
    @pytest.fixture(autouse=True)
    def _c_name(self, tool: Tool) -> None:
        tool.program = "/usr/local/bin/kmstool_instance"

    def test_short_flags_and_the_last_of_a_repeated_context_name(
        self, tool: Tool, enclave: str, conversation: Conversation
    ) -> None:
        options = ("-r", "eu-west-1", "-e", "a=1", "-e", "b=2", "-e", "a=3")
        assert tool.run("--enclave", enclave, *options, "AQID") == 0
        assert conversation.set_client["AwsRegion"] == "eu-west-1"
        assert decrypt_request(conversation)["EncryptionContext"] == {"a": "3", "b": "2"}

    def test_every_failure_exits_with_1_and_help_with_0(self, tool: Tool, short_dir: Path) -> None:
        for arguments in (("AQID",), ("-c", "16", "--nope"), ("--enclave", f"unix:{short_dir}/nobody", "AQID")):
            assert tool.run(*arguments) == 1
        assert tool.run("--help") == 0

    def test_region_of_the_environment_is_not_sent(
        self, tool: Tool, enclave: str, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        assert tool.run("--enclave", enclave, "AQID") == 0
        assert "AwsRegion" not in conversation.set_client
        tool.program = "kmstool-instance"
        assert tool.run("--enclave", enclave, "AQID") == 0
        sent = [request.get("AwsRegion") for _, request in conversation.requests if request["Operation"] == "SetClient"]
        assert sent == [None, "eu-west-1"]
