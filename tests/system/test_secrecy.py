"""A whole session at the most verbose level, searched for every secret in it."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.conftest import CONTEXT_OPTIONS, Deployment, deploy
from vsock_wire.messages import Credentials, SetClient, encode_message

PLAINTEXT = b"p1aintext-that-only-the-requester-may-see"
VERBOSE = "-vvv"


@dataclass
class Session:
    """Everything that was written, by whom; standard output of kmstool-instance holds results and stays apart."""

    written: dict[str, bytes]
    results: list[bytes]
    secrets: dict[str, bytes]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with deploy(start=False) as deployment:
        proxy = deployment.start_proxy("proxy", VERBOSE)
        enclave = deployment.start_enclave("enclave", VERBOSE)
        credentials = deployment.account.issue_credentials()
        environment = {
            "AWS_ACCESS_KEY_ID": credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
            "AWS_SESSION_TOKEN": credentials.session_token or "",
        }
        session = Session({}, [], _secrets(deployment, credentials))
        for name, done in _runs(deployment, environment).items():
            session.written[f"standard error of {name}"] = done.stderr
            session.results.append(done.stdout)
        _misbehave(deployment, credentials)
        enclave.stop()
        proxy.stop()
        session.written["log of kmstool-enclave"] = enclave.log_file.read_bytes()
        session.written["log of vsock-proxy"] = proxy.log_file.read_bytes()
        yield session


def test_no_secret_is_in_anything_that_was_logged(session: Session) -> None:
    for where, text in session.written.items():
        for name, secret in session.secrets.items():
            assert secret not in text, f"{name} in {where}"


def test_the_session_did_what_it_was_to_do_and_logged_it(session: Session) -> None:
    """Without this, the search would pass over an empty log as well."""
    assert session.results[0] == PLAINTEXT + b"\n"
    assert b"credentials: from" in session.written["standard error of a decrypt"]
    assert b"AccessDeniedException" in session.written["standard error of a refusal"]
    assert session.written["log of kmstool-enclave"].count(b"refused") >= 4
    assert b"DEBUG" in session.written["log of kmstool-enclave"]
    assert len(session.written["log of vsock-proxy"]) > 100


def test_no_secret_is_in_the_arguments_of_a_process(session: Session) -> None:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes()
        except OSError:
            continue
        for name, secret in session.secrets.items():
            assert secret not in arguments, f"{name} in {path}"


def _secrets(deployment: Deployment, credentials: Credentials) -> dict[str, bytes]:
    material = deployment.account.key.material
    assert isinstance(material, bytes)
    return {
        "the plaintext": PLAINTEXT,
        "the plaintext in base64": b64encode(PLAINTEXT),
        "the plaintext in hexadecimal": PLAINTEXT.hex().encode(),
        "the access key id": credentials.access_key_id.encode(),
        "the secret access key": credentials.secret_access_key.encode(),
        "the session token": (credentials.session_token or "").encode(),
        "a part of the session token": (credentials.session_token or "").encode()[40:80],
        "the KMS key": material.hex().encode(),
        "a private key": b"PRIVATE KEY",
    }


def _runs(deployment: Deployment, environment: dict[str, str]) -> dict[str, subprocess.CompletedProcess[bytes]]:
    good = deployment.encrypt(PLAINTEXT)
    deployment.account.key.is_enabled = True
    runs = {
        "a decrypt": deployment.instance(VERBOSE, *CONTEXT_OPTIONS, good, environment=environment),
        "a decrypt by IMDSv2": deployment.instance(VERBOSE, *CONTEXT_OPTIONS, "-", stdin=good.encode()),
        "a batch": deployment.instance(
            VERBOSE, *CONTEXT_OPTIONS, "--batch", stdin=f"{good}\nbad\n{good}\n".encode(), environment=environment
        ),
        "a wrong context": deployment.instance(VERBOSE, good, environment=environment),
        "wrong usage": deployment.instance(VERBOSE, "--no-such-option", good, environment=environment),
        "a description": deployment.instance(VERBOSE, "describe", region=False, environment=environment),
    }
    deployment.account.kms.rewrite_answer = lambda _, answer: {**answer, "Plaintext": b64encode(PLAINTEXT).decode()}
    runs["a leaking KMS"] = deployment.instance(VERBOSE, *CONTEXT_OPTIONS, good, environment=environment)
    deployment.account.kms.rewrite_answer = None
    deployment.account.kms.put_key_policy(deployment.account.key, _deny_all())
    runs["a refusal"] = deployment.instance(VERBOSE, *CONTEXT_OPTIONS, good, environment=environment)
    return runs


def _deny_all() -> str:
    statement = {"Effect": "Deny", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _misbehave(deployment: Deployment, credentials: Credentials) -> None:
    """Send credentials in messages that are refused, cut off, and over the limit."""
    message = encode_message(SetClient(credentials, None).to_message())
    with deployment.connect() as client:
        for data in (message[:-1], message + b"}", b"[" + message + b"]", message.replace(b"SetClient", b"SetKlient")):
            assert client.ask(data)["Status"] == "Error"
        assert client.ask(message)["Status"] == "Ok"
        assert client.ask(json.dumps({"Operation": "Decrypt", "Ciphertext": 5}).encode())["Status"] == "Error"
        assert client.ask(message * 100)["Status"] == "Error"
    with deployment.connect() as client:
        client.sock.sendall(message[:50])
