"""The configuration file as the commands see it, run in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.enclave.scripted_enclave import Conversation
from tests.support.instance.command_line import Tool

Configure = Callable[[str], Path]


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    def configure(text: str) -> Path:
        path = tmp_path / "xdg/kmstool/config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return path

    return configure


@pytest.fixture
def _named_enclave(enclave: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMSTOOL_ENCLAVE", enclave)


class TestValues:
    def test_names_are_those_of_the_flags(
        self, tool: Tool, enclave: str, conversation: Conversation, configure: Configure
    ) -> None:
        configure(
            f'enclave = "{enclave}"\nregion = "eu-west-1"\noutput = "base64"\ntimeout = 4\nkey-id = "alias/k"\n'
            'encryption-context = ["a=1", "b=2"]\nno-newline = true\n'
        )
        assert tool.run("AQID") == 0
        assert tool.out == b"SGVsbG8sIEtNUyE="
        request = next(request for _, request in conversation.requests if request["Operation"] == "Decrypt")
        assert request["TimeoutS"] == 3.6
        assert request["KeyId"] == "alias/k"
        assert request["EncryptionContext"] == {"a": "1", "b": "2"}
        assert conversation.set_client["AwsRegion"] == "eu-west-1"

    def test_options_win(self, tool: Tool, enclave: str, conversation: Conversation, configure: Configure) -> None:
        configure('cid = 99\nregion = "eu-west-1"\noutput = "base64"\n')
        assert tool.run("--enclave", enclave, "--region", "eu-north-1", "--output", "raw", "AQID") == 0
        assert tool.out == b"Hello, KMS!\n"
        assert conversation.set_client["AwsRegion"] == "eu-north-1"

    @pytest.mark.usefixtures("_named_enclave")
    def test_environment_wins(
        self, tool: Tool, conversation: Conversation, configure: Configure, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configure('cid = 99\nregion = "eu-west-1"\nprofile = "none"\n')
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
        assert tool.run("AQID") == 0
        assert conversation.set_client["AwsRegion"] == "eu-north-1"
        assert conversation.set_client["AwsAccessKeyId"] == "AKIDENV"

    @pytest.mark.usefixtures("_named_enclave")
    def test_profile_says_where_credentials_come_from(
        self, tool: Tool, conversation: Conversation, configure: Configure, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configure('profile = "mine"\n')
        credentials = "[mine]\naws_access_key_id = AKIDMINE\naws_secret_access_key = s\n"
        Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).write_text(credentials)
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        assert tool.run("AQID") == 0, tool.err
        assert conversation.set_client["AwsAccessKeyId"] == "AKIDMINE"

    def test_name_of_another_commands_option_is_ignored(self, tool: Tool, enclave: str, configure: Configure) -> None:
        configure('socket = "/run/kms"\nkey-spec = "AES_128"\nmax-age = 60\n')
        assert tool.run("--enclave", enclave, "AQID") == 0
        assert tool.out == b"Hello, KMS!\n"

    def test_choice_of_another_command_is_ignored(self, tool: Tool, enclave: str, configure: Configure) -> None:
        configure('output = "text"\n')
        assert tool.run("--enclave", enclave, "AQID") == 0
        assert tool.out == b"Hello, KMS!\n"


class TestFaults:
    @pytest.mark.parametrize(
        ("text", "error", "hint"),
        [
            ("regiom = 1", 'no such option: "regiom"', 'did you mean "region"?'),
            ("enclave_name = 1", 'no such option: "enclave_name"', 'did you mean "enclave-name"?'),
            ("zzz = 1", 'no such option: "zzz"', "the names are those of the flags, without the dashes"),
            ("help = true", 'no such option: "help"', "the names are"),
            ("[decrypt]\ncid = 16", 'no such option: "decrypt"', ""),
            ("timeout = 0", "timeout: timeout: expected at least", ""),
            ("timeout = true", "timeout: expected text or a number", ""),
            ("quiet = 1", "quiet: expected true or false", ""),
            ("verbose = true", "verbose: expected a number", ""),
            ("port = [1]", "port: expected text or a number", ""),
            ("port = 'x'", "port: ", ""),
            ("encryption-context = ['a']", "encryption-context: ", ""),
            ("cid = 'x'\n", "cid: expected a number", ""),
            ("enclave = true\n", "enclave: expected text", ""),
            ("cid = 16\nenclave = 'unix:/x'\n", "cid and enclave cannot be used together", ""),
            ("enclave = 'nonsense'\n", "address: expected ", ""),
        ],
    )
    def test_is_named_with_the_file(self, tool: Tool, configure: Configure, text: str, error: str, hint: str) -> None:
        path = configure(text)
        assert tool.run("AQID") == 2
        first, *rest = tool.err.splitlines()
        assert first.startswith(f"kmstool-instance: error: {path}: {error}")
        assert not hint or rest[0].startswith(f"hint: {hint}")

    def test_region_is_named_with_the_file(self, tool: Tool, enclave: str, configure: Configure) -> None:
        path = configure('region = "Ireland"\n')
        assert tool.run("--enclave", enclave, "AQID") == 2
        assert tool.err.startswith(f"kmstool-instance: error: {path}: expected the name of an AWS region")

    def test_other_commands_refuse_it_too_and_help_does_not(self, tool: Tool, configure: Configure) -> None:
        configure("regiom = 1")
        assert tool.run("policy") == 2
        assert "no such option" in tool.err
        assert tool.run("--help") == 0
