"""The main use: a ciphertext goes from the shell through the enclave to KMS, and the plaintext comes back."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from base64 import b64decode
from pathlib import Path

import pytest

from nitro_simulator.kms.journal import OK
from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment
from vsock_wire.protocol.json_codec import encode_base64
from vsock_wire.protocol.kms_operations import MAX_CIPHERTEXT_BYTES


def test_ciphertext_from_standard_input_prints_exactly_the_plaintext(deployment: Deployment) -> None:
    ciphertext = deployment.encrypt(b"Hello, KMS!")
    done = deployment.instance(*CONTEXT_OPTIONS, "-", stdin=ciphertext.encode())
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Hello, KMS!\n", b"")


def test_ciphertext_as_argument_prints_the_plaintext_and_kms_saw_the_enclave(deployment: Deployment) -> None:
    done = deployment.instance(*CONTEXT_OPTIONS, deployment.encrypt(b"as an argument"))
    assert (done.returncode, done.stdout) == (0, b"as an argument\n")
    entry = deployment.account.kms.journal.entries()[-1]
    assert (entry.operation, entry.verdict, entry.has_document) == ("Decrypt", OK, True)
    assert entry.pcr0 == deployment.account.enclave.pcr0.hex()
    assert set(entry.answered_bytes) == {"CiphertextForRecipient"}


def test_wrapped_base64_with_line_breaks_is_accepted(deployment: Deployment) -> None:
    ciphertext = deployment.encrypt(b"wrapped")
    wrapped = "\n".join(ciphertext[i : i + 20] for i in range(0, len(ciphertext), 20)) + "\n"
    done = deployment.instance(*CONTEXT_OPTIONS, "-", stdin=wrapped.encode())
    assert (done.returncode, done.stdout) == (0, b"wrapped\n")


def test_no_newline_prints_every_byte_of_a_binary_plaintext_and_no_more(deployment: Deployment) -> None:
    plaintext = bytes(range(256)) + b"\n\0\n"
    done = deployment.instance(*CONTEXT_OPTIONS, "--no-newline", deployment.encrypt(plaintext))
    assert (done.returncode, done.stdout) == (0, plaintext)


def test_out_file_is_private_and_replaces_the_old_one(deployment: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("before")
    path.chmod(0o644)
    refused = deployment.instance(*CONTEXT_OPTIONS, "--out", str(path), deployment.encrypt(b"x", {"other": "context"}))
    assert (refused.returncode, path.read_text()) == (1, "before")
    done = deployment.instance(*CONTEXT_OPTIONS, "--out", str(path), deployment.encrypt(b"after"))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"after\n", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_base64_and_json_output_parse_to_the_plaintext(deployment: Deployment) -> None:
    ciphertext = deployment.encrypt(b"\xff\x00 parse me")
    base64_done = deployment.instance(*CONTEXT_OPTIONS, "--output", "base64", ciphertext)
    assert b64decode(base64_done.stdout, validate=False) == b"\xff\x00 parse me"
    json_done = deployment.instance(*CONTEXT_OPTIONS, "--output", "json", ciphertext)
    result = json.loads(json_done.stdout)
    assert b64decode(result["Plaintext"]) == b"\xff\x00 parse me"
    assert result["KeyId"] == deployment.account.key.arn
    assert result["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"


def test_key_id_is_passed_on_and_enforced(deployment: Deployment) -> None:
    ciphertext = deployment.encrypt(b"keyed")
    right = deployment.instance(*CONTEXT_OPTIONS, "--key-id", deployment.account.key.arn, ciphertext)
    assert (right.returncode, right.stdout) == (0, b"keyed\n")
    other = deployment.account.kms.create_key()
    wrong = deployment.instance(*CONTEXT_OPTIONS, "--key-id", other.arn, ciphertext)
    assert wrong.stdout == b""
    assert b"IncorrectKeyException" in wrong.stderr or b"AccessDeniedException" in wrong.stderr


BROKEN = (17, 100, 181)
"""Numbers of the lines of a batch that fail: text, nothing, and what KMS refuses."""


def batch_of_200(deployment: Deployment) -> list[str]:
    lines = [deployment.encrypt(f"plaintext {number}".encode()) for number in range(1, 201)]
    for number, text in zip(BROKEN, ("not base64!", "", encode_base64(b"what KMS never made")), strict=True):
        lines[number - 1] = text
    return lines


def plaintext_of(output_format: str, result: str) -> str | None:
    """Return the plaintext of a line of output, or None if the line says that there is none."""
    match output_format:
        case "raw":
            return result or None
        case "base64":
            return b64decode(result).decode() or None
        case _:
            fields = json.loads(result)
            assert ("Plaintext" in fields) != ("Error" in fields)
            return b64decode(fields["Plaintext"]).decode() if "Plaintext" in fields else None


def lines_named_in(stderr: str) -> list[int]:
    """Return the numbers of the failed lines, from errors in text or, with --output json, in JSON."""
    in_json = [json.loads(line)["Line"] for line in stderr.splitlines() if line.startswith("{")]
    in_text = re.findall(r"^kmstool-instance: error: line (\d+): ", stderr, re.MULTILINE)
    return in_json or [int(number) for number in in_text]


@pytest.mark.parametrize("output_format", ["raw", "base64", "json"])
def test_paste_of_a_batchs_input_and_output_is_right_with_three_broken_lines(
    deployment: Deployment, tmp_path: Path, output_format: str
) -> None:
    lines = batch_of_200(deployment)
    inputs, outputs = tmp_path / "ciphertexts", tmp_path / "plaintexts"
    inputs.write_text("".join(f"{line}\n" for line in lines))
    done = deployment.instance(*CONTEXT_OPTIONS, "--batch", "--output", output_format, stdin=inputs.read_bytes())
    assert done.returncode == 1
    outputs.write_bytes(done.stdout)
    pasted = subprocess.run(["paste", inputs, outputs], capture_output=True, check=True, text=True).stdout
    pairs = [line.split("\t") for line in pasted.splitlines()]
    assert [ciphertext for ciphertext, _ in pairs] == lines
    assert [plaintext_of(output_format, result) for _, result in pairs] == [
        None if number in BROKEN else f"plaintext {number}" for number in range(1, 201)
    ]
    assert lines_named_in(done.stderr.decode()) == list(BROKEN)


def test_batch_uses_one_connection(deployment: Deployment) -> None:
    name = "counting"
    enclave = deployment.start_enclave(name, "-v")
    lines = "\n".join(deployment.encrypt(b"x") for _ in range(20))
    done = deployment.instance(*CONTEXT_OPTIONS, "--batch", stdin=lines.encode(), enclave=name)
    assert (done.returncode, done.stdout) == (0, b"x\n" * 20)
    assert enclave.log().count("connected") == 2  # the other connection checked that it was listening


def test_batch_in_json_gives_the_result_or_the_error_of_each_line(deployment: Deployment) -> None:
    refused = encode_base64(b"what KMS never made")
    stdin = f"bad!\n{deployment.encrypt(b'two')}\n{refused}\n".encode()
    done = deployment.instance(*CONTEXT_OPTIONS, "--batch", "--output", "json", stdin=stdin)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["Line"] for line in lines] == [1, 2, 3]
    assert [line.get("Code") for line in lines] == ["InvalidInput", None, "InvalidCiphertextException"]
    assert "Error" not in lines[1]
    assert done.returncode == 1


def test_raw_batch_leaves_the_line_of_a_plaintext_with_a_line_break_empty(deployment: Deployment) -> None:
    plaintexts = (b"one line", b"two\nlines", b"last")
    stdin = "\n".join(deployment.encrypt(plaintext) for plaintext in plaintexts).encode()
    done = deployment.instance(*CONTEXT_OPTIONS, "--batch", stdin=stdin)
    assert (done.returncode, done.stdout) == (1, b"one line\n\nlast\n")
    assert b"line 2: plaintext: has a line break" in done.stderr
    assert b"hint: use --output base64 or --output json" in done.stderr


def test_a_ciphertext_of_the_largest_size_works(deployment: Deployment) -> None:
    blob = deployment.account.key.seal(b"large", encryption_context={}, blob_bytes=MAX_CIPHERTEXT_BYTES)
    assert len(blob) == 6_144
    done = deployment.instance("-", stdin=encode_base64(blob).encode())
    assert (done.returncode, done.stdout) == (0, b"large\n")


def test_a_plaintext_of_the_largest_size_works(deployment: Deployment) -> None:
    plaintext = b"p" * 4_096
    done = deployment.instance("--no-newline", deployment.encrypt(plaintext, {}))
    assert (done.returncode, done.stdout) == (0, plaintext)


def test_describe_prints_what_the_enclave_reports(deployment: Deployment) -> None:
    done = deployment.instance("describe", region=False)
    description = json.loads(done.stdout)
    assert description["Protocol"] == 2
    assert description["ModuleId"].startswith("i-")
    assert description["Limits"]["MessageBytes"] == 65_536
    assert description["UptimeS"] > 0


def test_bigger_recipient_keys_work(deployment: Deployment) -> None:
    deployment.start_enclave("rsa4096", "--key-bits", "4096")
    done = deployment.instance(*CONTEXT_OPTIONS, deployment.encrypt(b"to a bigger key"), enclave="rsa4096")
    assert (done.returncode, done.stdout) == (0, b"to a bigger key\n")


def test_the_underscore_names_of_kmstool_are_the_same_programs(deployment: Deployment) -> None:
    from nitro_simulator.deployment.processes import tool_path

    for name in ("kmstool_instance", "kmstool_enclave"):
        done = subprocess.run([tool_path(name), "--version"], capture_output=True, check=True)
        assert b"version" in done.stdout
    assert deployment.tools["enclave"].process.poll() is None
