"""An enclave attests itself to the instance, and the instance verifies it."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nitro_attestation.document.cose import parse_unverified_document
from nitro_simulator.account import MODULE_ID
from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment import processes
from tests.support.deployment.deployment import Deployment

Request = dict[str, object]


@contextlib.contextmanager
def relay(deployment: Deployment, name: str, change: Callable[[Request], Request]) -> Iterator[str]:
    """Listen between the instance and the enclave, and pass one request on, changed, and its reply as it is."""
    path = Path(commands.enclave_address(deployment.account, name).path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def pass_on() -> None:
            client, _ = listener.accept()
            with client, deployment.connect() as enclave:
                data = b""
                while not data.endswith(b"\0"):
                    data += client.recv(65_536)
                reply = enclave.ask(json.dumps(change(json.loads(data[:-1]))).encode())
                client.sendall(json.dumps(reply).encode() + b"\0")

        thread = threading.Thread(target=pass_on)
        thread.start()
        yield name
        thread.join()
    path.unlink()


def without(*names: str) -> Callable[[Request], Request]:
    return lambda request: {name: value for name, value in request.items() if name not in names}


def _attest(
    deployment: Deployment, *options: str, root: bool = True, enclave: str = "enclave"
) -> subprocess.CompletedProcess[bytes]:
    trusted = ["--root", str(deployment.account.attestation_root_file)] if root else []
    return deployment.instance("attest", *trusted, *options, region=False, enclave=enclave)


def _measurements(deployment: Deployment, pcr0: bytes) -> Path:
    path = deployment.account.directory / f"{pcr0.hex()[:8]}.json"
    path.write_text(json.dumps({"Measurements": {"HashAlgorithm": "Sha512_48 { .. }", "PCR0": pcr0.hex()}}), "utf-8")
    return path


def test_a_document_with_a_fresh_nonce_is_fetched_and_verified(deployment: Deployment) -> None:
    done = _attest(deployment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert MODULE_ID in done.stdout.decode()
    assert deployment.account.enclave.pcr0.hex() in done.stdout.decode()


def test_the_document_holds_the_nonce_the_user_data_and_the_recipient_key(deployment: Deployment) -> None:
    saved = deployment.account.directory / "document.cbor"
    done = _attest(deployment, "--nonce", "0a0b", "--user-data", "c0de", "--save", str(saved), "--output", "base64")
    assert b64decode(done.stdout) == saved.read_bytes()
    document = parse_unverified_document(saved.read_bytes())
    assert (document.nonce, document.user_data) == (b"\x0a\x0b", b"deliver=reply\n\xc0\xde")
    assert document.public_key_der is not None


def test_a_saved_document_verifies_offline(deployment: Deployment) -> None:
    saved = deployment.account.directory / "saved.cbor"
    assert _attest(deployment, "--nonce", "aa", "--save", str(saved)).returncode == 0
    root = str(deployment.account.attestation_root_file)
    done = processes.run_instance(["verify", str(saved), "--root", root, "--nonce", "aa"], environment={})
    assert done.returncode == 0, done.stderr


def test_the_expected_measurement_passes_and_another_is_refused_by_name(deployment: Deployment) -> None:
    right = _measurements(deployment, deployment.account.enclave.pcr0)
    assert _attest(deployment, "--expect", str(right)).returncode == 0
    wrong = _measurements(deployment, deployment.account.other_enclave.pcr0)
    done = _attest(deployment, "--expect", str(wrong))
    assert (done.returncode != 0, done.stdout) == (True, b"")
    assert b"PCR0" in done.stderr


def test_without_the_simulators_root_awss_root_is_required(deployment: Deployment) -> None:
    done = _attest(deployment, root=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"attestation document: cabundle" in done.stderr


def test_a_replayed_document_does_not_hold_the_nonce(deployment: Deployment) -> None:
    """A server that always answers with an older document is caught by the nonce."""
    import socket
    import threading

    old = deployment.account.directory / "old.b64"
    old.write_bytes(_attest(deployment, "--output", "base64").stdout.strip())
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def replay() -> None:
            sock, _ = listener.accept()
            with sock:
                request_id = json.loads(sock.recv(65_536).rstrip(b"\0"))["Id"]
                reply = {"Status": "Ok", "Id": request_id, "Document": old.read_text()}
                sock.sendall(json.dumps(reply).encode() + b"\0")

        thread = threading.Thread(target=replay)
        thread.start()
        root = str(deployment.account.attestation_root_file)
        done = processes.run_instance(
            ["--enclave", f"tcp://127.0.0.1:{listener.getsockname()[1]}", "attest", "--root", root], environment={}
        )
        thread.join()
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"nonce" in done.stderr


def test_debug_mode_gets_a_loud_warning_when_attested(deployment: Deployment) -> None:
    from nitro_simulator.account import SimulatedAccount

    folder = deployment.account.directory / "d"
    folder.mkdir()
    with SimulatedAccount(folder, debug=True) as account:
        arguments = commands.enclave_command(account)
        with processes.running(
            arguments, listens_on=commands.enclave_address(account), log_file=folder / "enclave.log"
        ):
            address, root = str(commands.enclave_address(account)), str(account.attestation_root_file)
            done = processes.run_instance(["attest", "--enclave", address, "--root", root], environment={})
    assert done.returncode == 0
    assert b"DEBUG MODE" in done.stderr


class TestRelay:
    """Whatever stands between the instance and the enclave may change the request: the document shows it."""

    def test_relay_that_passes_everything_on_is_not_noticed(self, deployment: Deployment) -> None:
        with relay(deployment, "honest", without()) as name:
            done = _attest(deployment, "--user-data", "c0de", enclave=name)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"(the one expected)" in done.stdout

    @pytest.mark.parametrize("data", ["c0de", ""])
    def test_relay_that_strips_the_user_data_is_found_out(self, deployment: Deployment, data: str) -> None:
        with relay(deployment, "strips", without("UserData")) as name:
            done = _attest(deployment, "--user-data", data, "--bare-user-data", enclave=name)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"attestation document: user_data: the document has no user data" in done.stderr

    def test_relay_that_strips_the_user_data_after_the_enclaves_line_is_found_out(self, deployment: Deployment) -> None:
        with relay(deployment, "strips", without("UserData")) as name:
            done = _attest(deployment, "--user-data", "c0de", enclave=name)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"user_data: not the expected user data" in done.stderr

    def test_relay_that_puts_in_its_own_key_is_found_out(self, deployment: Deployment) -> None:
        with relay(deployment, "puts", lambda request: {**request, "PublicKey": "AAAA"}) as name:
            done = _attest(deployment, enclave=name)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"public_key: not the enclave's own key" in done.stderr


class TestFieldsOfTheCaller:
    @pytest.mark.parametrize("size", [0, 1, 513, 1_010])
    def test_up_to_1024_bytes_arrive_with_the_enclaves_line(self, deployment: Deployment, size: int) -> None:
        done = _attest(deployment, "--user-data", "5a" * size, "--nonce", "a5" * size, "--output", "base64")
        document = parse_unverified_document(b64decode(done.stdout))
        assert (document.user_data, document.nonce) == (b"deliver=reply\n" + b"\x5a" * size, b"\xa5" * size)

    def test_1024_bytes_fit_without_the_line_and_a_hint_says_why_not_with_it(self, deployment: Deployment) -> None:
        done = _attest(deployment, "--user-data", "5a" * 1_024, "--bare-user-data", "--output", "base64")
        assert parse_unverified_document(b64decode(done.stdout)).user_data == b"\x5a" * 1_024
        done = _attest(deployment, "--user-data", "5a" * 1_024)
        assert done.returncode == 1
        assert b"UserData: expected at most 1010 bytes, got 1024" in done.stderr
        assert b"hint: the enclave puts 14 bytes of its own in front" in done.stderr

    def test_key_of_the_caller_is_carried_and_marked(self, deployment: Deployment, tmp_path: Path) -> None:
        (tmp_path / "key").write_bytes(b"the caller's key")
        done = _attest(deployment, "--public-key", str(tmp_path / "key"), "--output", "base64")
        document = parse_unverified_document(b64decode(done.stdout))
        assert document.public_key_der == b"the caller's key"
        assert document.user_data == b"deliver=reply key=caller\n"

    @pytest.mark.parametrize("options", [["--bare-user-data"], ["--public-key", "/dev/null"]])
    def test_enclave_that_keeps_secrets_inside_takes_neither(self, deployment: Deployment, options: list[str]) -> None:
        """KMS would encrypt the secret to the caller's key, and nothing would be kept inside."""
        with contextlib.ExitStack() as stack:
            inside = Deployment(deployment.account, stack)
            inside.start_enclave("inside", "--deliver", "digest")
            done = _attest(deployment, *options, enclave="inside")
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"Could not get attestation document: " in done.stderr
        assert b"cannot be used with --deliver digest" in done.stderr
