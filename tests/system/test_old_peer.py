"""kmstool-instance against a server that answers as kmstool_enclave in C does."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from nitro_simulator.flow import processes

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIDMOCK00000000TEST",
    "AWS_SECRET_ACCESS_KEY": "mockSecret/notARealOne+0000000000",
}
OK = b'{ "Status": "Ok" }\0'
STRAY = b'{ "Status": "Error" }\0'


@dataclass
class OldEnclave:
    """One client at a time, backlog 1, and a stray second reply after every success. Its KMS reverses the bytes."""

    listener: socket.socket
    connections: int = 0
    requests: list[dict[str, object]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            with sock:
                self._converse(sock)

    def _converse(self, sock: socket.socket) -> None:
        buffer = b""
        while data := sock.recv(8_192):
            buffer += data
            while b"\0" in buffer:
                frame, _, buffer = buffer.partition(b"\0")
                try:
                    sock.sendall(self._answer(json.loads(frame)))
                except OSError:
                    return

    def _answer(self, request: dict[str, object]) -> bytes:
        self.requests.append(request)
        if request["Operation"] == "SetClient":
            return OK
        ciphertext = b64decode(str(request["Ciphertext"]))
        if ciphertext == b"refused":
            return b'{ "Status": "Error", "Message": "Could not decrypt ciphertext" }\0'
        message = b64encode(ciphertext[::-1]).decode()
        return f'{{ "Status": "Ok", "Message": "{message}" }}\0'.encode() + STRAY


@pytest.fixture
def old_enclave() -> Iterator[OldEnclave]:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        enclave = OldEnclave(listener)
        thread = threading.Thread(target=enclave.serve)
        thread.start()
        yield enclave
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _instance(enclave: OldEnclave, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return processes.run_instance(["--enclave", enclave.address, *arguments], environment=ENVIRONMENT, stdin=stdin)


def test_one_ciphertext_is_decrypted(old_enclave: OldEnclave) -> None:
    done = _instance(old_enclave, b64encode(b"!SMK ,olleH").decode())
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Hello, KMS!\n", b"")
    assert [request["Operation"] for request in old_enclave.requests] == ["SetClient", "Decrypt"]


def test_many_ciphertexts_are_decrypted_each_on_a_connection_of_its_own(old_enclave: OldEnclave) -> None:
    ciphertexts = [f"{number:03}".encode() for number in range(20)]
    stdin = b"\n".join(map(b64encode, ciphertexts))
    done = _instance(old_enclave, "--batch", stdin=stdin)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines() == [ciphertext[::-1] for ciphertext in ciphertexts]
    assert old_enclave.connections == 20


def test_a_refusal_without_a_reason_is_told_as_such(old_enclave: OldEnclave) -> None:
    done = _instance(old_enclave, b64encode(b"refused").decode())
    assert (done.returncode, done.stdout) == (1, b"")
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "kmstool-instance: error: Could not decrypt ciphertext"
    assert lines[1].startswith("hint: this enclave gives no reason")


def test_a_refused_line_of_a_batch_leaves_the_others(old_enclave: OldEnclave) -> None:
    stdin = b"\n".join(map(b64encode, (b"1st", b"refused", b"3rd")))
    done = _instance(old_enclave, "--batch", stdin=stdin)
    assert (done.returncode, done.stdout) == (1, b"ts1\ndr3\n")
    assert b"line 2: Could not decrypt ciphertext" in done.stderr


def test_fields_the_c_program_sends_are_sent_to_it(old_enclave: OldEnclave) -> None:
    _instance(old_enclave, "--region", "eu-west-1", "--encryption-context", "a=1", b64encode(b"x").decode())
    set_client, decrypt = old_enclave.requests
    assert set_client["AwsAccessKeyId"] == ENVIRONMENT["AWS_ACCESS_KEY_ID"]
    assert set_client["AwsRegion"] == "eu-west-1"
    assert "AwsSessionToken" not in set_client
    assert decrypt["EncryptionContext"] == {"a": "1"}
