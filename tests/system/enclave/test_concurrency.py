"""Many clients at once, and clients that behave badly, against one server process."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

from nitro_simulator.deployment import command_lines as commands
from tests.support.deployment.deployment import CONTEXT, Deployment
from tests.support.kms.decrypting import decrypt_request
from vsock_wire.protocol.json_codec import encode_message
from vsock_wire.protocol.kms_operations import encode_kms_request
from vsock_wire.protocol.messages import SetClient

CLIENTS = 50
TIMEOUT_S = 60.0


def _in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run ``work(0)`` to ``work(count - 1)`` at the same time, and raise what one of them raised."""
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised again by the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert not [thread for thread in threads if thread.is_alive()]
    if errors:
        raise errors[0]


def _set_client(deployment: Deployment) -> bytes:
    return encode_message(SetClient(deployment.account.issue_credentials(), "us-east-1").to_message())


def _decrypt(deployment: Deployment, plaintext: bytes) -> bytes:
    blob = deployment.account.key.seal(plaintext, encryption_context=CONTEXT)
    return encode_message(encode_kms_request(decrypt_request(blob, CONTEXT)))


def _decrypts(deployment: Deployment, plaintext: bytes) -> None:
    with deployment.connect() as client:
        assert client.ask(_set_client(deployment))["Status"] == "Ok"
        reply = client.ask(_decrypt(deployment, plaintext))
        assert b64decode(reply["Message"]) == plaintext


def test_fifty_clients_at_once_each_get_their_own_plaintext(deployment: Deployment) -> None:
    shared_credentials = _set_client(deployment)
    all_connected = threading.Barrier(CLIENTS, timeout=TIMEOUT_S)

    def client(number: int) -> None:
        with deployment.connect() as raw:
            all_connected.wait()
            # Half of them have their own credentials, because the enclave keeps KMS clients by credentials.
            assert raw.ask(shared_credentials if number % 2 else _set_client(deployment))["Status"] == "Ok"
            for turn in range(4):
                plaintext = f"of client {number}, turn {turn}".encode()
                assert b64decode(raw.ask(_decrypt(deployment, plaintext))["Message"]) == plaintext

    _in_threads(CLIENTS, client)


def test_clients_that_stop_in_the_middle_delay_nobody(deployment: Deployment) -> None:
    idle = [deployment.connect() for _ in range(20)]
    halves = [deployment.connect() for _ in range(20)]
    for client in halves:
        client.sock.sendall(b'{"Operation":"Decr')
    _decrypts(deployment, b"next to forty silent clients")
    assert all(client.is_silent() for client in idle + halves)
    for client in idle + halves:
        client.sock.close()


def test_a_client_that_never_reads_delays_nobody(deployment: Deployment) -> None:
    with deployment.connect() as deaf:
        deaf.sock.setblocking(False)
        request = b'{"Operation":"Describe"}\0' * 1_000
        sent = 0
        try:
            while sent < 50_000_000:
                sent += deaf.sock.send(request)
        except BlockingIOError:
            pass
        assert sent < 50_000_000  # the server has stopped reading this one: its replies are stuck
        _decrypts(deployment, b"next to a client that never reads")


def test_a_client_that_leaves_in_the_middle_of_a_reply_does_no_harm(deployment: Deployment) -> None:
    for _ in range(20):
        with deployment.connect() as client:
            client.sock.sendall(b'{"Operation":"Describe"}\0' * 200)
    _decrypts(deployment, b"after clients that went away")
    assert deployment.tools["enclave"].process.poll() is None


def test_sigterm_lets_a_request_in_progress_finish(deployment: Deployment) -> None:
    enclave = deployment.start_enclave("terminated")
    reached, go_on = threading.Event(), threading.Event()

    def hold(_operation: str, answer: dict[str, object]) -> dict[str, object]:
        reached.set()
        assert go_on.wait(TIMEOUT_S)
        return answer

    with deployment.connect("terminated") as client:
        client.ask(_set_client(deployment))
        deployment.account.kms.rewrite_answer = hold
        try:
            client.sock.sendall(_decrypt(deployment, b"in time") + b"\0")
            assert reached.wait(TIMEOUT_S)
            enclave.process.terminate()
            _await_closed(deployment, "terminated")
            go_on.set()
            assert b64decode(client.read()["Message"]) == b"in time"
        finally:
            go_on.set()
            deployment.account.kms.rewrite_answer = None
    assert enclave.process.wait(TIMEOUT_S) == 0


def _await_closed(deployment: Deployment, name: str) -> None:
    """Wait until the server accepts no more connections."""
    for _ in range(100_000):
        try:
            deployment.connect(name).sock.close()
        except OSError:
            return
    raise AssertionError(f"{commands.enclave_address(deployment.account, name)} still accepts connections")


def test_a_reply_echoes_the_id_of_its_request(deployment: Deployment) -> None:
    with deployment.connect() as client:
        assert client.ask(json.dumps({"Operation": "Describe", "Id": "a-1"}).encode())["Id"] == "a-1"
        assert client.ask(json.dumps({"Operation": "Nothing", "Id": "a-2"}).encode())["Id"] == "a-2"
        assert "Id" not in client.ask(json.dumps({"Operation": "Describe", "Id": "x" * 65}).encode())


def test_many_sets_of_credentials_cost_little_memory(deployment: Deployment) -> None:
    """It is normal that each job has its own credentials, and an enclave has little memory."""
    enclave = deployment.start_enclave("many")
    with deployment.connect("many") as client:
        assert client.ask(_set_client(deployment))["Status"] == "Ok"
        before = _resident_kib(enclave.process.pid)
        for _ in range(100):
            assert client.ask(_set_client(deployment))["Status"] == "Ok"
        assert b64decode(client.ask(_decrypt(deployment, b"with the last"))["Message"]) == b"with the last"
    assert _resident_kib(enclave.process.pid) - before < 64 * 1024


def _resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")
