"""A session that outlives its credentials loses no request, with real processes.

KMSTOOL_LONG_RUN=1 runs it for 30 seconds with credentials that last 5 seconds; by default the run is shorter.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from instance_tool.client.client import EnclaveClient
from instance_tool.credentials.find import find_credentials
from instance_tool.credentials.source import CredentialSource
from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.kms.journal import OK
from tests.support.deployment.deployment import CONTEXT, CONTEXT_OPTIONS, Deployment, deploy
from tests.support.kms.decrypting import decrypt_request
from vsock_wire.protocol.json_codec import decode_base64, encode_message
from vsock_wire.protocol.kms_operations import encode_kms_request

IS_LONG = bool(os.environ.get("KMSTOOL_LONG_RUN"))
LIFETIME_S = 5.0 if IS_LONG else 2.0
RUN_S = 30.0 if IS_LONG else 5.0
TIMEOUT_S = 60.0


@dataclass
class Count:
    """What one client saw."""

    answered: int = 0
    lost: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def short_lived() -> Iterator[Deployment]:
    with deploy(credentials_lifetime_s=LIFETIME_S) as deployment:
        deployment.start_serve("serve", "-v")
        yield deployment


@pytest.mark.alone  # credentials last seconds, and a busy machine could outlast them
def test_no_request_is_lost_while_credentials_keep_expiring(short_lived: Deployment) -> None:
    """Three programs keep a connection to serve, one is a shell loop, and one asks the enclave directly."""
    clients = [_kept_connection, _kept_connection, _kept_connection, _shell_loop, _own_session]
    counts = [Count() for _ in clients]
    started_at = time.monotonic()
    threads = [
        threading.Thread(target=client, args=(short_lived, number, counts[number], started_at + RUN_S))
        for number, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(RUN_S + TIMEOUT_S)
        assert not thread.is_alive()
    lifetimes = (time.monotonic() - started_at) / LIFETIME_S
    _report(short_lived, counts, lifetimes)
    assert [count.lost for count in counts] == [[] for _ in clients]
    assert all(count.answered > 0 for count in counts)
    assert lifetimes >= 2.5
    assert short_lived.tools["serve"].log().count("credentials: from IMDSv2") >= 3


def test_credentials_that_expired_while_idle_are_replaced(short_lived: Deployment) -> None:
    with short_lived.connect("serve") as client:
        assert client.ask(_request(short_lived, b"before"))["Status"] == "Ok"
        _outlive_present_credentials(short_lived)
        refused_before = _refusals(short_lived)
        assert b64decode(client.ask(_request(short_lived, b"after"))["Message"]) == b"after"
    assert _refusals(short_lived) == refused_before


def _outlive_present_credentials(deployment: Deployment) -> None:
    """Wait until KMS rejects credentials that were issued at the start of the wait with the role's lifetime."""
    credentials = deployment.account.issue_credentials(lifetime_s=LIFETIME_S)
    with contextlib.closing(deployment.account.unattested_client(credentials)) as kms:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                kms.describe_key(KeyId=deployment.account.key.arn)
            except kms.exceptions.ClientError:
                return
    raise AssertionError("the credentials do not expire")


def _kept_connection(deployment: Deployment, number: int, count: Count, ends_at: float) -> None:
    with deployment.connect("serve") as client:
        _ask_until(ends_at, number, count, lambda plaintext: client.ask(_request(deployment, plaintext)))


def _shell_loop(deployment: Deployment, number: int, count: Count, ends_at: float) -> None:
    """Start the program for each request, in an environment without credentials."""

    def ask(plaintext: bytes) -> dict[str, object]:
        ciphertext = deployment.encrypt(plaintext)
        options = [*CONTEXT_OPTIONS, "--output", "base64", ciphertext]
        done = deployment.instance(*options, enclave="serve", environment={"AWS_EC2_METADATA_DISABLED": "true"})
        return {"Message": done.stdout.decode().strip(), "stderr": done.stderr.decode()}

    _ask_until(ends_at, number, count, ask)


def _own_session(deployment: Deployment, number: int, count: Count, ends_at: float) -> None:
    environ = deployment.account.imds_environment
    with EnclaveClient(commands.enclave_address(deployment.account)) as client:
        client.set_credentials(CredentialSource(lambda: find_credentials(environ)), deployment.account.region)

        def ask(plaintext: bytes) -> dict[str, object]:
            blob = decode_base64(deployment.encrypt(plaintext))
            return client.exchange_with_credentials(encode_kms_request(decrypt_request(blob, CONTEXT)))

        _ask_until(ends_at, number, count, ask)


def _ask_until(ends_at: float, number: int, count: Count, ask: Callable[[bytes], dict[str, object]]) -> None:
    while time.monotonic() < ends_at:
        plaintext = f"of client {number}, request {count.answered}".encode()
        try:
            reply = ask(plaintext)
            is_answered = b64decode(str(reply.get("Message"))) == plaintext
        except Exception as error:  # noqa: BLE001 - any exception means that a request was lost
            count.lost.append(repr(error))
            return
        if is_answered:
            count.answered += 1
        else:
            count.lost.append(str(reply))


def _request(deployment: Deployment, plaintext: bytes) -> bytes:
    blob = deployment.account.key.seal(plaintext, encryption_context=CONTEXT)
    return encode_message(encode_kms_request(decrypt_request(blob, CONTEXT)))


def _refusals(deployment: Deployment) -> int:
    return sum(entry.verdict == "ExpiredTokenException" for entry in deployment.account.kms.journal.entries())


def _report(deployment: Deployment, counts: list[Count], lifetimes: float) -> None:
    """Print the results; pytest shows them with -s, or when the test fails."""
    decrypted = sum(
        (entry.operation, entry.verdict) == ("Decrypt", OK) for entry in deployment.account.kms.journal.entries()
    )
    print(
        f"\n{RUN_S:g} s with credentials that last {LIFETIME_S:g} s ({lifetimes:.1f} lifetimes):"
        f" answered {[count.answered for count in counts]}, lost {sum(len(count.lost) for count in counts)};"
        f" KMS decrypted {decrypted} and reported ExpiredToken {_refusals(deployment)} times"
    )
