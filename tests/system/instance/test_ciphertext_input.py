"""The table of docs/reference/ciphertext-input.md: each input that it lists gives what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
from base64 import b64encode, encodebytes, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from nitro_simulator.deployment import processes
from tests.support.deployment.deployment import Deployment
from tests.support.project.packages import ROOT

PAGE = (ROOT / "docs/reference/ciphertext-input.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| (?!input |--)(.+) \| (.+) \|$", PAGE, re.MULTILINE))


class Given(NamedTuple):
    """What a row of the table gives the command."""

    arguments: tuple[str, ...] = ()
    stdin: bytes = b""


class Ciphertext:
    """One ciphertext in its forms, and a directory for files."""

    def __init__(self, deployment: Deployment, directory: Path) -> None:
        self.deployment = deployment
        self.directory = directory
        plaintexts = (b"pasted", b"pasted.", b"pasted..")
        sealed = {deployment.account.key.seal(plaintext, encryption_context={}): plaintext for plaintext in plaintexts}
        # Then the text has padding, and cannot be read with one character less.
        self.raw, self.plaintext = next((raw, plaintext) for raw, plaintext in sealed.items() if len(raw) % 3 == 1)
        self.text = b64encode(self.raw).decode()

    def file(self, content: bytes | str, name: str = "ciphertext") -> Path:
        path = self.directory / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        environment = {**self.deployment.account.imds_environment, "HOME": str(self.directory)}
        return self.deployment.instance(*arguments, stdin=stdin, environment=environment)

    def json_of(self, *arguments: str, stdin: bytes = b"") -> bytes:
        done = self.run(*arguments, "--key-id", self.deployment.account.key.arn, "--output", "json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout


def argument(text: str) -> Given:
    return Given((text,))


def pipe(content: bytes | str) -> Given:
    return Given((), content.encode() if isinstance(content, str) else content)


def aws_json(one: Ciphertext) -> str:
    return json.dumps({"CiphertextBlob": one.text, "KeyId": "arn:aws:kms:us-east-1:1:key/k"}, indent=4)


INPUTS: dict[str, Callable[[Ciphertext], Given]] = {
    "base64 text, as an argument": lambda one: argument(one.text),
    "base64 text with a line break, through a pipe without an argument": lambda one: pipe(one.text + "\n"),
    "base64 text through a pipe, with `-`": lambda one: Given(("-",), one.text.encode()),
    "base64 text in a file, with `< FILE`": lambda one: pipe(one.file(one.text + "\n").read_bytes()),
    "base64 text in a file, with `file://FILE`": lambda one: argument(f"file://{one.file(one.text)}"),
    "base64 text in a file, with `@FILE`": lambda one: argument(f"@{one.file(one.text)}"),
    "base64 text in a file in the home directory, with `file://~/FILE`": lambda one: argument(
        f"file://~/{one.file(one.text).name}"
    ),
    "base64 text in a file, with `fileb://FILE`": lambda one: argument(f"fileb://{one.file(one.text)}"),
    "raw bytes in a file, with `fileb://FILE`": lambda one: argument(f"fileb://{one.file(one.raw)}"),
    "raw bytes in a file, with `file://FILE` or `@FILE`": lambda one: argument(f"@{one.file(one.raw)}"),
    "raw bytes through a pipe": lambda one: pipe(one.raw),
    "base64 text wrapped into lines of 76 characters": lambda one: pipe(encodebytes(one.raw)),
    "base64 text wrapped with the line ends of Windows": lambda one: pipe(encodebytes(one.raw).replace(b"\n", b"\r\n")),
    "base64 text without padding": lambda one: argument(one.text.rstrip("=")),
    "URL-safe base64 text": lambda one: argument(urlsafe_b64encode(one.raw).decode()),
    "URL-safe base64 text without padding": lambda one: argument(urlsafe_b64encode(one.raw).decode().rstrip("=")),
    "base64 text in double quotes, as `aws kms encrypt --query CiphertextBlob` prints it": lambda one: pipe(
        f'"{one.text}"\n'
    ),
    "base64 text in single or curly quotes": lambda one: argument(f"\u2018{one.text}\u2019"),
    "base64 text with a byte order mark in front": lambda one: pipe("\ufeff" + one.text),
    "base64 text with no-break or zero-width spaces of a web page": lambda one: argument(
        f"\xa0{one.text[:50]}\u200b{one.text[50:]}"
    ),
    "the JSON of `aws kms encrypt`": lambda one: pipe(aws_json(one)),
    "the JSON of `encrypt --output json`": lambda one: pipe(one.json_of("encrypt", stdin=one.plaintext)),
    "the JSON of `genkey --output json`": lambda one: pipe(one.json_of("genkey")),
    "the JSON of `genkeypair --output json`": lambda one: pipe(
        one.json_of("genkeypair", "--key-pair-spec", "ECC_NIST_P256")
    ),
    "an argument from a variable that is not set": lambda _: argument(""),
    "no argument, and standard input is `/dev/null`, closed or a terminal": lambda _: Given(),
    "`-`, and the command before the pipe printed nothing": lambda _: argument("-"),
    "UTF-16 text, from `>` in PowerShell": lambda one: pipe((one.text + "\r\n").encode("utf-16")),
    "hexadecimal text, from `xxd -p`": lambda one: pipe(one.raw.hex("\n", 30)),
    "hexadecimal text with colons, from `openssl`": lambda one: argument(one.raw.hex(":")),
    "the JSON of `aws kms describe-key`": lambda _: pipe('{"KeyMetadata": {"KeyId": "k", "Enabled": true}}'),
    "the JSON of `decrypt --output json`": lambda one: pipe(one.run("--output", "json", one.text).stdout),
    "half of a JSON object": lambda one: pipe(aws_json(one)[:80]),
    "all columns of `aws kms encrypt --output text`": lambda one: pipe(
        f"{one.text}\tSYMMETRIC_DEFAULT\tarn:aws:kms:us-east-1:111122223333:key/k\n"
    ),
    "`None`, from `--query` with a wrong name": lambda _: pipe("None\n"),
    "base64 text without its last characters": lambda one: argument(one.text.rstrip("=")[:-1]),
    "base64 text with a `=` too many": lambda one: argument(b64encode(one.raw[:-1]).decode() + "="),
    "base64 of base64 text": lambda one: argument(b64encode(one.text.encode()).decode()),
    "two base64 texts": lambda one: argument(f"{one.text} {one.text}"),
    "a sentence": lambda _: argument("attack at dawn!"),
    "base64 text with a dash of a word processor": lambda one: argument(one.text[:40] + "\u2014" + one.text[41:]),
    "the output of `genkey` with its labels": lambda one: pipe(
        one.run("genkey", "--key-id", one.deployment.account.key.arn).stdout
    ),
    "PEM": lambda _: pipe("-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----\n"),
    "raw bytes as an argument, from `$(cat FILE)`": lambda one: argument(os.fsdecode(one.raw.replace(b"\0", b""))),
    "raw bytes that an editor has saved as UTF-8": lambda one: pipe(one.raw.decode("utf-8", "replace")),
    "the name of a file without `file://`": lambda one: argument(str(one.file(one.text))),
    "`file://` and a file that does not exist": lambda one: argument(f"file://{one.directory}/none"),
    "`file://` and a directory": lambda one: argument(f"file://{one.directory}"),
    "a file of more than 65,536 bytes": lambda one: argument(f"file://{one.file(bytes(65_537))}"),
    "base64 text of more than 6,144 bytes": lambda _: pipe(b64encode(bytes(6_145))),
    "a line of wrapped base64, with `--batch`": lambda one: Given(("--batch",), encodebytes(one.raw)),
}
OTHER_SECRETS = ("the data key", "the private key")


@pytest.fixture
def ciphertext(deployment: Deployment, tmp_path: Path) -> Ciphertext:
    return Ciphertext(deployment, tmp_path)


def test_the_table_lists_these_inputs_and_no_others() -> None:
    assert list(ROWS) == list(INPUTS)
    assert len(ROWS) >= 30


@pytest.mark.parametrize("row", INPUTS)
def test_input_gives_what_its_row_says(row: str, ciphertext: Ciphertext) -> None:
    given = INPUTS[row](ciphertext)
    done = ciphertext.run(*given.arguments, stdin=given.stdin)
    result = ROWS[row]
    if result == "the plaintext":
        assert (done.returncode, done.stdout, done.stderr) == (0, ciphertext.plaintext + b"\n", b"")
    elif result in OTHER_SECRETS:
        assert (done.returncode, done.stderr) == (0, b"")
        assert len(done.stdout) > 32
    else:
        text = result.split("`")[1].replace(
            "FILE", given.arguments[0].removeprefix("file://") if given.arguments else ""
        )
        error = done.stderr.decode().splitlines()[0]
        assert error == f"kmstool-instance: error: {text}"
        assert done.stdout.strip() == b""
        assert done.returncode == (1 if "exit code 1" in result else 2)


def test_no_argument_and_a_terminal_is_an_error_and_not_a_wait() -> None:
    main_end, terminal = os.openpty()
    try:
        command = [processes.tool_path("kmstool-instance"), "--cid", "16"]
        done = subprocess.run(command, stdin=terminal, capture_output=True, check=False)
    finally:
        os.close(main_end)
        os.close(terminal)
    assert done.returncode == 2
    assert done.stderr.startswith(b"kmstool-instance: error: CIPHERTEXT: missing\nhint: ")


@pytest.mark.parametrize("redirection", ["<&-", "< /dev/null"])
def test_standard_input_that_is_closed_or_empty_does_not_matter_with_an_argument(
    ciphertext: Ciphertext, redirection: str
) -> None:
    enclave = ["--enclave", f"unix:{ciphertext.deployment.account.directory}/enclave.sock", "--region", "us-east-1"]
    tool = processes.tool_path("kmstool-instance")
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", tool, *enclave, ciphertext.text],
        env={**os.environ, **ciphertext.deployment.account.imds_environment},
        capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ciphertext.plaintext + b"\n")


def test_standard_input_is_left_alone_with_an_argument(ciphertext: Ciphertext) -> None:
    enclave = f"unix:{ciphertext.deployment.account.directory}/enclave.sock"
    loop = f'while read -r text; do "{processes.tool_path("kmstool-instance")}" --enclave "{enclave}" "$text"; done'
    done = subprocess.run(
        ["sh", "-c", loop],
        env={**os.environ, **ciphertext.deployment.account.imds_environment},
        input=f"{ciphertext.text}\n".encode() * 3,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, (ciphertext.plaintext + b"\n") * 3)
