"""Command lines for kmstool_enclave_cli in C, unchanged, in short and long form.

They are those of the C project's README and of its own test. Only what leads to the simulator is added.
"""

from __future__ import annotations

import subprocess
from base64 import b64decode

import pytest

from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment.processes import clean_environment, tool_path
from nitro_simulator.kms.journal import OK
from tests.support.deployment.deployment import Deployment, credential_variables

C_NAME = "kmstool_enclave_cli"
STRANGE_VARIABLES = {"REGION": "eu-central-1", "ENDPOINT": "kms.example.com", "PROXY_PORT": "1"}
"""The C program does not read them; each would make a call fail."""
LONG = {
    "access": "--aws-access-key-id",
    "secret": "--aws-secret-access-key",
    "token": "--aws-session-token",
    "region": "--region",
    "proxy": "--proxy-port",
    "ciphertext": "--ciphertext",
    "key": "--key-id",
    "spec": "--key-spec",
    "algorithm": "--encryption-algorithm",
    "length": "--length",
}
SHORT = {
    "access": "-k",
    "secret": "-s",
    "token": "-t",
    "region": "-r",
    "proxy": "-x",
    "ciphertext": "-c",
    "key": "-K",
    "spec": "-p",
    "algorithm": "-a",
    "length": "-l",
}


def run(
    deployment: Deployment, *arguments: str, name: str = C_NAME, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    account = deployment.account
    simulated = [
        "--proxy", str(commands.proxy_address(account)), "--ca-file", str(account.ca_file),
        "--nsm", str(account.enclave.nsm_address), "--allow-non-vsock",
    ]  # fmt: skip
    return subprocess.run(
        [tool_path(name), *arguments, *(() if arguments[0].startswith("-") else simulated)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=clean_environment(STRANGE_VARIABLES if environment is None else environment),
        timeout=60.0,
        check=False,
    )


def common(deployment: Deployment, flags: dict[str, str]) -> list[str]:
    """Return what every line has, in the README's order."""
    credentials = deployment.account.issue_credentials()
    return [
        flags["region"], "us-east-1",
        flags["proxy"], "8000",
        flags["access"], credentials.access_key_id,
        flags["secret"], credentials.secret_access_key,
        flags["token"], credentials.session_token or "",
    ]  # fmt: skip


def parsed(stdout: bytes, line: int) -> bytes:
    """Return a value as the README's programs take it out of the output."""
    return b64decode(stdout.decode().split("\n")[line].split(":")[1].strip())


@pytest.mark.parametrize("flags", [LONG, SHORT], ids=["long", "short"])
class TestEveryLine:
    def test_decrypt(self, deployment: Deployment, flags: dict[str, str]) -> None:
        ciphertext = deployment.encrypt(b"Hello, KMS!", {})
        done = run(deployment, "decrypt", *common(deployment, flags), flags["ciphertext"], ciphertext)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"PLAINTEXT: SGVsbG8sIEtNUyE=\n", b"")
        assert b64decode(done.stdout.decode().split(":")[1].strip()) == b"Hello, KMS!"

    def test_decrypt_with_key_and_algorithm(self, deployment: Deployment, flags: dict[str, str]) -> None:
        ciphertext = deployment.encrypt(b"Hello, KMS!", {})
        more = [flags["key"], deployment.account.key.arn, flags["algorithm"], "SYMMETRIC_DEFAULT"]
        done = run(deployment, "decrypt", *common(deployment, flags), flags["ciphertext"], ciphertext, *more)
        assert (done.returncode, parsed(done.stdout, 0), done.stderr) == (0, b"Hello, KMS!", b"")

    @pytest.mark.parametrize("spec", ["AES-256", "AES-128"])
    def test_genkey(self, deployment: Deployment, flags: dict[str, str], spec: str) -> None:
        key = deployment.account.key
        done = run(deployment, "genkey", *common(deployment, flags), flags["key"], key.arn, flags["spec"], spec)
        assert (done.returncode, done.stderr) == (0, b"")
        sealed, opened = parsed(done.stdout, 0), parsed(done.stdout, 1)
        assert key.open(sealed, algorithm="SYMMETRIC_DEFAULT", encryption_context={}) == opened
        assert len(opened) * 8 == int(spec.removeprefix("AES-"))

    def test_genrandom(self, deployment: Deployment, flags: dict[str, str]) -> None:
        done = run(deployment, "genrandom", *common(deployment, flags), flags["length"], "24")
        assert (done.returncode, len(parsed(done.stdout, 0)), done.stderr) == (0, 24, b"")

    def test_options_of_another_subcommand_are_ignored_with_a_warning(
        self, deployment: Deployment, flags: dict[str, str]
    ) -> None:
        key = deployment.account.key
        own = [flags["key"], key.arn, flags["spec"], "AES-256"]
        done = run(deployment, "genkey", *common(deployment, flags), *own, flags["length"], "1024")
        assert (done.returncode, len(parsed(done.stdout, 1))) == (0, 32)
        assert done.stderr == b"kmstool-enclave-cli: warning: --length: ignored, because genkey has no use for it\n"
        others = [flags["ciphertext"], "AQID", flags["key"], "k", flags["spec"], "AES-256", flags["algorithm"], "x"]
        done = run(deployment, "genrandom", *common(deployment, flags), *others, flags["length"], "8")
        assert (done.returncode, len(parsed(done.stdout, 0)), done.stderr.count(b"warning: ")) == (0, 8, 4)


def test_algorithm_without_key_is_ignored(deployment: Deployment) -> None:
    arguments = ["--ciphertext", deployment.encrypt(b"x", {}), "--encryption-algorithm", "RSAES_OAEP_SHA_256"]
    done = run(deployment, "decrypt", *common(deployment, LONG), *arguments)
    assert (done.returncode, done.stdout) == (0, b"PLAINTEXT: eA==\n")


def test_last_of_a_repeated_context_name_counts(deployment: Deployment) -> None:
    ciphertext = deployment.encrypt(b"x", {"a": "2", "b": "3"})
    contexts = [flag for entry in ("a=1", "b=3", "a=2") for flag in ("--encryption-context", entry)]
    done = run(deployment, "decrypt", *common(deployment, LONG), "--ciphertext", ciphertext, *contexts)
    assert (done.returncode, done.stdout) == (0, b"PLAINTEXT: eA==\n")


class TestExitCodes:
    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (("decrypt", "--help"), 1),
            (("--help",), 1),
            (("decrypt",), 1),
            (("decrypt", "--no-such-option"), 1),
            (("no-such-command",), 1),
            (("genrandom", "--length", "1025"), 1),
        ],
        ids=str,
    )
    def test_usage_and_help_exit_with_1(self, deployment: Deployment, arguments: tuple[str, ...], code: int) -> None:
        assert run(deployment, *arguments).returncode == code

    def test_missing_credentials_exit_with_1(self, deployment: Deployment) -> None:
        assert run(deployment, "genrandom", "--length", "8").returncode == 1

    def test_failed_operation_exits_with_255(self, deployment: Deployment) -> None:
        done = run(deployment, "decrypt", *common(deployment, LONG), "--ciphertext", "AQIDBA==")
        assert (done.returncode, done.stdout) == (255, b"")
        assert done.stderr.startswith(b"kmstool-enclave-cli: error: Could not decrypt ciphertext")


class TestOwnName:
    """The spelling with dashes keeps its own conventions."""

    def test_reads_region_and_endpoint_from_the_environment(self, deployment: Deployment) -> None:
        credentials = credential_variables(deployment.account.issue_credentials())
        for name, text in (("REGION", "eu-central-1"), ("ENDPOINT", "kms.example.com")):
            environment = {**credentials, name: text}
            done = run(deployment, "genrandom", "--length", "8", name="kmstool-enclave-cli", environment=environment)
            assert done.returncode != 0
            assert text in done.stderr.decode()

    @pytest.mark.parametrize(
        ("arguments", "code", "error"),
        [
            (("--help",), 0, ""),
            (("genrandom", "--length", "8", "--key-spec", "AES-256"), 2, "no such option '--key-spec'"),
            (("genkey", "--key-id", "k", "--key-spec", "AES-256", "-l", "8"), 2, "no such option '-l'"),
            (
                ("decrypt", "--ciphertext", "AQID", "--encryption-context", "a=1", "--encryption-context", "a=2"),
                2,
                "a name is given twice",
            ),
            (
                ("decrypt", "--ciphertext", "AQID", "--encryption-algorithm", "RSAES_OAEP_SHA_256"),
                2,
                "an asymmetric algorithm needs --key-id",
            ),
            (("genrandom", "--length", "8"), 4, "no credentials"),
        ],
        ids=str,
    )
    def test_keeps_its_exit_codes_and_refusals(
        self, deployment: Deployment, arguments: tuple[str, ...], code: int, error: str
    ) -> None:
        done = run(deployment, *arguments, name="kmstool-enclave-cli", environment={})
        assert done.returncode == code
        assert error in done.stderr.decode()

    def test_accepts_the_short_flags(self, deployment: Deployment) -> None:
        done = run(deployment, "genrandom", *common(deployment, SHORT), "-l", "8", name="kmstool-enclave-cli")
        assert done.returncode != 2


def test_kms_saw_a_document_in_every_call(deployment: Deployment) -> None:
    run(deployment, "genrandom", *common(deployment, LONG), "--length", "8")
    entry = deployment.account.kms.journal.entries()[-1]
    assert (entry.operation, entry.verdict, entry.has_document) == ("GenerateRandom", OK, True)
