"""An enclave attests itself to the instance, and the instance verifies it."""

from __future__ import annotations

import json
import subprocess
from base64 import b64decode
from pathlib import Path

from nitro_attestation.document.cose import parse_unverified_document
from nitro_simulator.account import MODULE_ID
from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment import processes
from tests.support.deployment.deployment import Deployment


def _attest(deployment: Deployment, *options: str, root: bool = True) -> subprocess.CompletedProcess[bytes]:
    trusted = ["--root", str(deployment.account.attestation_root_file)] if root else []
    return deployment.instance("attest", *trusted, *options, region=False)


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
                sock.recv(65_536)
                sock.sendall(b'{"Status":"Ok","Document":"' + old.read_bytes() + b'"}\0')

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
