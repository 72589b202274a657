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


def test_an_error_without_a_reason_says_so(legacy_enclave: LegacyEnclave) -> None:
    done = _instance(legacy_enclave, b64encode(b"refused").decode())
    assert (done.returncode, done.stdout) == (1, b"")
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "kmstool-instance: error: Could not decrypt ciphertext"
    assert lines[1].startswith("hint: this enclave gives no reason")


def test_a_failed_line_of_a_batch_does_not_stop_the_others(legacy_enclave: LegacyEnclave) -> None:
    stdin = b"\n".join(map(b64encode, (b"1st", b"refused", b"3rd")))
    done = _instance(legacy_enclave, "--batch", stdin=stdin)
    assert (done.returncode, done.stdout) == (1, b"ts1\ndr3\n")
    assert b"line 2: Could not decrypt ciphertext" in done.stderr


def test_fields_the_c_program_sends_are_sent_to_it(legacy_enclave: LegacyEnclave) -> None:
    _instance(legacy_enclave, "--region", "eu-west-1", "--encryption-context", "a=1", b64encode(b"x").decode())
    set_client, decrypt = legacy_enclave.requests
    assert set_client["AwsAccessKeyId"] == ENVIRONMENT["AWS_ACCESS_KEY_ID"]
    assert set_client["AwsRegion"] == "eu-west-1"
    assert "AwsSessionToken" not in set_client
    assert decrypt["EncryptionContext"] == {"a": "1"}
