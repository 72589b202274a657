"""kmstool-instance with a server that behaves like kmstool_enclave in C."""

from __future__ import annotations

import socket
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator

import pytest

from nitro_simulator.deployment import processes
from tests.support.enclave.legacy_enclave import LegacyEnclave

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIDMOCK00000000TEST",
    "AWS_SECRET_ACCESS_KEY": "mockSecret/notARealOne+0000000000",
}


@pytest.fixture
def legacy_enclave() -> Iterator[LegacyEnclave]:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        enclave = LegacyEnclave(listener)
        thread = threading.Thread(target=enclave.serve)
        thread.start()
        yield enclave
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _instance(enclave: LegacyEnclave, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return processes.run_instance(["--enclave", enclave.address, *arguments], environment=ENVIRONMENT, stdin=stdin)


def test_one_ciphertext_is_decrypted(legacy_enclave: LegacyEnclave) -> None:
    done = _instance(legacy_enclave, b64encode(b"!SMK ,olleH").decode())
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Hello, KMS!\n", b"")
    assert [request["Operation"] for request in legacy_enclave.requests] == ["SetClient", "Decrypt"]


def test_many_ciphertexts_are_decrypted_each_on_a_connection_of_its_own(legacy_enclave: LegacyEnclave) -> None:
    ciphertexts = [f"{number:03}".encode() for number in range(20)]
    stdin = b"\n".join(map(b64encode, ciphertexts))
    done = _instance(legacy_enclave, "--batch", stdin=stdin)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines() == [ciphertext[::-1] for ciphertext in ciphertexts]
    assert legacy_enclave.connections == 20
    assert (legacy_enclave.stray_replies, legacy_enclave.broken_pipes) == (20, 0)


def test_an_error_without_a_reason_says_so(legacy_enclave: LegacyEnclave) -> None:
    done = _instance(legacy_enclave, b64encode(b"refused").decode())
    assert (done.returncode, done.stdout) == (1, b"")
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "kmstool-instance: error: Could not decrypt ciphertext"
    assert lines[1].startswith("hint: this enclave gives no reason")


def test_a_failed_line_of_a_batch_does_not_stop_the_others(legacy_enclave: LegacyEnclave) -> None:
    stdin = b"\n".join(map(b64encode, (b"1st", b"refused", b"3rd")))
    done = _instance(legacy_enclave, "--batch", stdin=stdin)
    assert (done.returncode, done.stdout) == (1, b"ts1\n\ndr3\n")
    assert b"line 2: Could not decrypt ciphertext" in done.stderr


def test_fields_the_c_program_sends_are_sent_to_it(legacy_enclave: LegacyEnclave) -> None:
    _instance(legacy_enclave, "--region", "eu-west-1", "--encryption-context", "a=1", b64encode(b"x").decode())
    set_client, decrypt = legacy_enclave.requests
    assert set_client["AwsAccessKeyId"] == ENVIRONMENT["AWS_ACCESS_KEY_ID"]
    assert set_client["AwsRegion"] == "eu-west-1"
    assert "AwsSessionToken" not in set_client
    assert decrypt["EncryptionContext"] == {"a": "1"}


def test_its_second_reply_is_read_before_the_connection_closes(legacy_enclave: LegacyEnclave) -> None:
    for number in range(12):
        ciphertext = b64encode(b"%d" % number).decode()
        assert _instance(legacy_enclave, "--encryption-context", "a=1", ciphertext).returncode == 0
    assert (legacy_enclave.stray_replies, legacy_enclave.broken_pipes) == (12, 0)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--key-id", "alias/no-such-key"), "ignores the key ID"),
        (("--encryption-algorithm", "SYMMETRIC_DEFAULT"), "ignores the encryption algorithm"),
        (("--key-id", "a", "--encryption-algorithm", "b"), "ignores the key ID and the encryption algorithm"),
    ],
    ids=str,
)
def test_option_that_it_ignores_is_refused_before_anything_secret_is_sent(
    legacy_enclave: LegacyEnclave, options: tuple[str, ...], reason: str
) -> None:
    done = _instance(legacy_enclave, *options, b64encode(b"x").decode())
    assert (done.returncode, done.stdout) == (1, b"")
    error, hint = done.stderr.decode().splitlines()
    assert error == f"kmstool-instance: error: this enclave runs kmstool in C, which {reason}"
    assert hint.startswith(f"hint: omit {options[0]}")
    assert [request["Operation"] for request in legacy_enclave.requests] == ["Describe"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("genkey", "--key-id", "alias/app"),
        ("genkeypair", "--key-id", "alias/app", "--key-pair-spec", "RSA_2048"),
        ("genrandom", "--length", "8"),
        ("encrypt", "--key-id", "alias/app"),
        ("describe",),
        ("attest",),
    ],
    ids=lambda arguments: str(arguments[0]),
)
def test_operation_that_it_does_not_know_gets_a_hint(legacy_enclave: LegacyEnclave, arguments: tuple[str, ...]) -> None:
    done = _instance(legacy_enclave, *arguments, stdin=b"plaintext")
    assert (done.returncode, done.stdout) == (1, b"")
    text = done.stderr.decode()
    assert "runs kmstool in C" in text
    assert "run this project's kmstool-enclave" in text
    assert [request["Operation"] for request in legacy_enclave.requests][1:] == []
    assert legacy_enclave.broken_pipes == 0
