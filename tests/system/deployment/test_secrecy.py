"""A whole session with maximum verbosity, whose output and logs are searched for every secret."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nitro_simulator.kms.keys.key import KeyState
from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment, credential_variables, deploy
from vsock_wire.protocol.json_codec import encode_message
from vsock_wire.protocol.messages import Credentials, SetClient

PLAINTEXT = b"p1aintext-that-only-the-requester-may-see"
VERBOSE = "-vvv"


@dataclass
class Session:
    """Everything that each program wrote, and every command line that was seen."""

    logged: dict[str, bytes]
    results: dict[str, subprocess.CompletedProcess[bytes]]
    command_lines: set[bytes]
    plaintexts: dict[str, bytes]
    secrets: dict[str, bytes]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with deploy(start=False) as deployment, _watched_command_lines() as command_lines:
        proxy = deployment.start_proxy("proxy", VERBOSE)
        enclave = deployment.start_enclave("enclave", VERBOSE)
        credentials = deployment.account.issue_credentials()
        results = _runs(deployment, credential_variables(credentials))
        _misbehave(deployment, credentials)
        enclave.stop()
        proxy.stop()
        logged = {f"standard error of {name}": done.stderr for name, done in results.items()}
        logged["log of kmstool-enclave"] = enclave.log_file.read_bytes()
        logged["log of vsock-proxy"] = proxy.log_file.read_bytes()
        plaintexts = {
            "the plaintext": PLAINTEXT,
            "the plaintext in base64": b64encode(PLAINTEXT),
            "the plaintext in hexadecimal": PLAINTEXT.hex().encode(),
        }
        yield Session(logged, results, command_lines, plaintexts, deployment.secrets())


def test_no_secret_is_in_anything_that_was_logged(session: Session) -> None:
    for where, text in session.logged.items():
        for name, secret in (session.secrets | session.plaintexts).items():
            assert secret not in text, f"{name} in {where}"


def test_standard_output_has_the_plaintext_only_where_expected_and_no_other_secret(session: Session) -> None:
    for run, done in session.results.items():
        for name, secret in session.secrets.items():
            assert secret not in done.stdout, f"{name} in standard output of {run}"
        if done.returncode != 0 and run != "a batch":
            assert done.stdout == b"", run


def test_no_secret_is_in_the_arguments_of_a_process(session: Session) -> None:
    for program in (b"kmstool-enclave", b"vsock-proxy", b"kmstool-instance"):
        assert any(program in line for line in session.command_lines), f"{program!r} was not seen"
    for line in session.command_lines:
        for name, secret in (session.secrets | session.plaintexts).items():
            assert secret not in line, f"{name} in {line!r}"


def test_the_session_did_its_work_and_logged_it(session: Session) -> None:
    """Make sure that there was something to search: an empty log has no secrets either."""
    assert session.results["a decrypt"].stdout == PLAINTEXT + b"\n"
    assert session.results["a decrypt by IMDSv2"].stdout == PLAINTEXT + b"\n"
    assert session.results["a batch"].stdout == PLAINTEXT + b"\n\n" + PLAINTEXT + b"\n"
    assert session.results["an explained decrypt"].stdout == PLAINTEXT + b"\n"
    assert b"opened CiphertextForRecipient" in session.logged["standard error of an explained decrypt"]
    assert session.results["a diagnosis"].returncode == 0
    assert b"credentials: from" in session.logged["standard error of a decrypt"]
    assert b"AccessDeniedException" in session.logged["standard error of a refusal"]
    assert session.logged["log of kmstool-enclave"].count(b"refused") >= 4
    assert b"DEBUG" in session.logged["log of kmstool-enclave"]
    assert len(session.logged["log of vsock-proxy"]) > 100
    assert len(session.secrets) >= 2 + 4 * 2 + 1  # from the environment, from IMDSv2, and the token of IMDSv2


@contextlib.contextmanager
def _watched_command_lines() -> Iterator[set[bytes]]:
    """Collect the command lines of all processes repeatedly in the background."""
    seen: set[bytes] = set()
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.005):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):  # the process has just ended
                    seen.add(path.read_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()


def _runs(deployment: Deployment, environment: dict[str, str]) -> dict[str, subprocess.CompletedProcess[bytes]]:
    good = deployment.encrypt(PLAINTEXT)
    deployment.account.key.state = KeyState.ENABLED
    runs = {
        "a decrypt": deployment.instance(VERBOSE, *CONTEXT_OPTIONS, good, environment=environment),
        "a decrypt by IMDSv2": deployment.instance(VERBOSE, *CONTEXT_OPTIONS, "-", stdin=good.encode()),
        "a batch": deployment.instance(
            VERBOSE, *CONTEXT_OPTIONS, "--batch", stdin=f"{good}\nbad\n{good}\n".encode(), environment=environment
        ),
        "a wrong context": deployment.instance(VERBOSE, good, environment=environment),
        "wrong usage": deployment.instance(VERBOSE, "--no-such-option", good, environment=environment),
        "an explained decrypt": deployment.instance("--explain", *CONTEXT_OPTIONS, "-", stdin=good.encode()),
        "an explained refusal": deployment.instance("--explain", good, environment=environment),
        "a diagnosis": deployment.instance("doctor", "--ciphertext", good, *CONTEXT_OPTIONS, environment=environment),
        "a description": deployment.instance(VERBOSE, "describe", region=False, environment=environment),
    }
    deployment.account.kms.rewrite_answer = lambda _, answer: {**answer, "Plaintext": b64encode(PLAINTEXT).decode()}
    for name, option in (("a leaking KMS", VERBOSE), ("a leaking KMS, explained", "--explain")):
        runs[name] = deployment.instance(option, *CONTEXT_OPTIONS, good, environment=environment)
    deployment.account.kms.rewrite_answer = None
    deployment.account.kms.put_key_policy(deployment.account.key, _deny_all())
    runs["a refusal"] = deployment.instance(VERBOSE, *CONTEXT_OPTIONS, good, environment=environment)
    return runs


def _deny_all() -> str:
    statement = {"Effect": "Deny", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _misbehave(deployment: Deployment, credentials: Credentials) -> None:
    """Send credentials in messages that are malformed, truncated, or too long."""
    message = encode_message(SetClient(credentials, None).to_message())
    with deployment.connect() as client:
        for data in (message[:-1], message + b"}", b"[" + message + b"]", message.replace(b"SetClient", b"SetKlient")):
            assert client.ask(data)["Status"] == "Error"
        assert client.ask(message)["Status"] == "Ok"
        assert client.ask(json.dumps({"Operation": "Decrypt", "Ciphertext": 5}).encode())["Status"] == "Error"
        assert client.ask(message * 100)["Status"] == "Error"
    with deployment.connect() as client:
        client.sock.sendall(message[:50])
