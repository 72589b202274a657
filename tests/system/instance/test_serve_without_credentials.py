"""kmstool-instance serve while what gives it credentials does not answer, as real processes."""

from __future__ import annotations

import threading
from base64 import b64decode

from tests.support.deployment.deployment import CONTEXT, Deployment
from tests.support.instance.scripted_imds import TOKEN_PATH, Answer, ScriptedImds
from tests.support.kms.decrypting import decrypt_request
from vsock_wire.protocol.json_codec import encode_message
from vsock_wire.protocol.kms_operations import encode_kms_request

TIMEOUT_S = 60.0
"""A test that passes never waits this long."""
CLIENTS = 6


def _decrypt(deployment: Deployment, plaintext: bytes) -> bytes:
    blob = deployment.account.key.seal(plaintext, encryption_context=CONTEXT)
    return encode_message(encode_kms_request(decrypt_request(blob, CONTEXT)))


def _hand_out(deployment: Deployment, imds: ScriptedImds, *, lifetime_s: float) -> None:
    credentials = deployment.account.issue_credentials(lifetime_s=lifetime_s)
    imds.set_credentials(
        AccessKeyId=credentials.access_key_id,
        SecretAccessKey=credentials.secret_access_key,
        Token=credentials.session_token,
        Expiration=credentials.expiration,
    )


def test_imds_that_drips_bytes_costs_one_deadline_and_six_clients_are_still_served(deployment: Deployment) -> None:
    """The credentials are in their refresh window from the start, so that serve asks IMDS again and again."""
    with ScriptedImds() as imds:
        _hand_out(deployment, imds, lifetime_s=150)
        deployment.start_serve("dripping", environment=imds.environ)
        imds.answers["PUT", TOKEN_PATH] = Answer(b"x" * 60_000, drips=True)
        asking = threading.Thread(target=_ask_until, args=(deployment, imds.is_dripping))
        asking.start()
        assert imds.is_dripping.wait(TIMEOUT_S)
        clients = [deployment.connect("dripping") for _ in range(CLIENTS)]
        for number, client in enumerate(clients):
            client.sock.sendall(_decrypt(deployment, b"%d" % number) + b"\0")
        assert [b64decode(client.read()["Message"]) for client in clients] == [b"%d" % n for n in range(CLIENTS)]
        assert not imds.is_left.is_set(), "the fetch ended before the clients were served"
        asking.join(TIMEOUT_S)
        assert imds.is_left.wait(TIMEOUT_S)
        for number, client in enumerate(clients):
            assert b64decode(client.ask(_decrypt(deployment, b"later %d" % number))["Message"]) == b"later %d" % number
            client.sock.close()


def _ask_until(deployment: Deployment, is_enough: threading.Event) -> None:
    """Decrypt until serve has asked IMDS for new credentials."""
    with deployment.connect("dripping") as client:
        while not is_enough.is_set():
            assert client.ask(_decrypt(deployment, b"again"))["Status"] == "Ok"
