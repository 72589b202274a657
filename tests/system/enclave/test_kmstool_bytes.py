"""Checks the real server process against kmstool's C programs, byte for byte."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest

from tests.support.deployment.deployment import CONTEXT, Deployment
from tests.support.deployment.raw_client import RawClient
from vsock_wire.protocol.messages import Credentials


def _set_client(credentials: Credentials, *, region: str = ', "AwsRegion": "us-east-1"') -> bytes:
    """Return SetClient as the C instance writes it: spaces inside the braces, slashes escaped."""
    secret = credentials.secret_access_key.replace("/", "\\/")
    return (
        f'{{ "Operation": "SetClient", "AwsAccessKeyId": "{credentials.access_key_id}", '
        f'"AwsSecretAccessKey": "{secret}", "AwsSessionToken": "{credentials.session_token}"{region} }}'
    ).encode()


@pytest.fixture
def client(deployment: Deployment) -> RawClient:
    return deployment.connect()


def _is_only_message(reply: dict[str, object], text: str) -> bool:
    return reply["Status"] == "Error" and reply["Message"] == text


def test_set_client_and_decrypt_of_the_c_instance_get_its_replies(deployment: Deployment, client: RawClient) -> None:
    with client:
        reply = client.ask(_set_client(deployment.account.issue_credentials()))
        assert reply["Status"] == "Ok"
        context = ', "EncryptionContext": { "purpose": "test" }'
        for _ in range(3):
            ciphertext = deployment.encrypt(b"Hello, KMS!", CONTEXT)
            reply = client.ask(f'{{ "Operation": "Decrypt", "Ciphertext": "{ciphertext}"{context} }}'.encode())
            assert reply["Status"] == "Ok"
            assert b64decode(reply["Message"]) == b"Hello, KMS!"
        assert client.is_silent()  # one reply per request: no stray second one


def test_the_next_connection_starts_without_a_client(deployment: Deployment) -> None:
    with deployment.connect() as first:
        assert first.ask(_set_client(deployment.account.issue_credentials()))["Status"] == "Ok"
    with deployment.connect() as second:
        reply = second.ask(b'{"Operation":"Decrypt","Ciphertext":"QUFB"}')
        assert _is_only_message(reply, "Client not initialized")


MALFORMED = [
    (b"", "Error reading JSON object"),
    (b"not json", "Error reading JSON object"),
    (b"{'Operation': 'Decrypt'}", "Error reading JSON object"),
    (b'{"Operation":"Decrypt"} trailing', "Error reading JSON object"),
    (b'{"Operation":"Decrypt","Operation":"SetClient"}', "Error reading JSON object"),
    (b'{"Operation":NaN}', "Error reading JSON object"),
    (b'{"Operation":"\\ud800"}', "Error reading JSON object"),
    (b"\xff\xfe{}", "Error reading JSON object"),
    (b"[" * 60_000, "Error reading JSON object"),
    (b"null", "Error reading JSON object"),
    (b"[]", "JSON is wrong type"),
    (b'"text"', "JSON is wrong type"),
    (b"5", "JSON is wrong type"),
    (b"{}", "JSON structure incomplete"),
    (b'{"Operation":null}', "JSON structure incomplete"),
    (b'{"Operation":5}', "Operation is wrong type"),
    (b'{"Operation":["Decrypt"]}', "Operation is wrong type"),
    (b'{"Operation":"Encrypt-ish"}', "Operation not recognized"),
    (b'{"Operation":"decrypt"}', "Operation not recognized"),
    (b'{"Operation":"Decrypt","Ciphertext":"QUFB"}', "Client not initialized"),
    (b'{"Operation":"SetClient"}', "Could not read credentials"),
    (b'{"Operation":"SetClient","AwsAccessKeyId":"A"}', "Could not read credentials"),
    (b'{"Operation":"SetClient","AwsAccessKeyId":"","AwsSecretAccessKey":""}', "Could not read credentials"),
    (b'{"Operation":"SetClient","AwsAccessKeyId":1,"AwsSecretAccessKey":"s"}', "Could not read credentials"),
    (b'{"Operation":"SetClient","AwsAccessKeyId":"A","AwsSecretAccessKey":["s"]}', "Could not read credentials"),
    (
        b'{"Operation":"SetClient","AwsAccessKeyId":"A","AwsSecretAccessKey":"s","AwsSessionToken":7}',
        "Could not read credentials",
    ),
    (
        b'{"Operation":"SetClient","AwsAccessKeyId":"A","AwsSecretAccessKey":"s","AwsRegion":7}',
        "Could not set region correctly, check configuration.",
    ),
]


@pytest.mark.parametrize(
    ("request_bytes", "text"), MALFORMED, ids=[f"{i}-{text}" for i, (_, text) in enumerate(MALFORMED)]
)
def test_a_malformed_request_gets_the_text_of_kmstool_and_the_connection_goes_on(
    client: RawClient, request_bytes: bytes, text: str
) -> None:
    with client:
        assert _is_only_message(client.ask(request_bytes), text)
        assert client.is_silent()
        assert client.ask(b'{"Operation":"Describe"}')["Status"] == "Ok"


AFTER_SET_CLIENT = [
    (b'{"Operation":"Decrypt"}', "Message does not contain a Ciphertext"),
    (b'{"Operation":"Decrypt","Ciphertext":null}', "Message does not contain a Ciphertext"),
    (b'{"Operation":"Decrypt","Ciphertext":5}', "Ciphertext not a base64 string"),
    (b'{"Operation":"Decrypt","Ciphertext":"AAA"}', "Ciphertext not a base64 string"),
    (b'{"Operation":"Decrypt","Ciphertext":"!!!!"}', "Ciphertext not a base64 string"),
]


@pytest.mark.parametrize(("request_bytes", "text"), AFTER_SET_CLIENT)
def test_a_malformed_decrypt_gets_the_text_of_kmstool(
    deployment: Deployment, client: RawClient, request_bytes: bytes, text: str
) -> None:
    with client:
        assert client.ask(_set_client(deployment.account.issue_credentials()))["Status"] == "Ok"
        assert _is_only_message(client.ask(request_bytes), text)
        assert client.is_silent()


@pytest.mark.parametrize("context", ['"text"', "5", "[1]", '{"a":1}', '{"a":null}'])
def test_an_encryption_context_of_the_wrong_type_is_an_error_and_not_a_crash(
    deployment: Deployment, client: RawClient, context: str
) -> None:
    ciphertext = deployment.encrypt(b"alive", {})
    with client:
        client.ask(_set_client(deployment.account.issue_credentials()))
        reply = client.ask(
            f'{{"Operation":"Decrypt","Ciphertext":"{ciphertext}","EncryptionContext":{context}}}'.encode()
        )
        assert reply["Status"] == "Error"
        assert str(reply["Message"]).startswith("Could not decrypt ciphertext")
        for absent in ("{}", "null"):
            reply = client.ask(
                f'{{"Operation":"Decrypt","Ciphertext":"{ciphertext}","EncryptionContext":{absent}}}'.encode()
            )
            assert reply["Status"] == "Ok"


def test_a_failure_of_kms_starts_with_kmstools_text_and_is_passed_on_completely(
    deployment: Deployment, client: RawClient
) -> None:
    with client:
        client.ask(_set_client(deployment.account.issue_credentials()))
        reply = client.ask(
            json.dumps({"Operation": "Decrypt", "Ciphertext": deployment.encrypt(b"x", CONTEXT)}).encode()
        )
    assert reply["Status"] == "Error"
    assert reply["Message"] == "Could not decrypt ciphertext: InvalidCiphertextException"
    assert (reply["Code"], reply["Service"], reply["HttpStatus"]) == ("InvalidCiphertextException", "kms", 400)
    assert len(str(reply["RequestId"])) == 36


def test_a_null_session_token_counts_as_absent(client: RawClient) -> None:
    with client:
        reply = client.ask(
            b'{"Operation":"SetClient","AwsAccessKeyId":"A","AwsSecretAccessKey":"s","AwsSessionToken":null}'
        )
        assert reply["Status"] == "Ok"


def test_both_sides_setting_a_region_is_refused_and_a_good_client_survives_it(deployment: Deployment) -> None:
    deployment.start_enclave("regional", "--region", "us-east-1")
    credentials = deployment.account.issue_credentials()
    request = json.dumps({"Operation": "Decrypt", "Ciphertext": deployment.encrypt(b"still here", {})}).encode()
    with deployment.connect("regional") as client:
        assert client.ask(_set_client(credentials, region=""))["Status"] == "Ok"
        refused = client.ask(_set_client(credentials))
        assert _is_only_message(refused, "Could not set region correctly, check configuration.")
        assert b64decode(client.ask(request)["Message"]) == b"still here"


def test_a_message_over_the_limit_is_refused_and_the_next_one_is_served(client: RawClient) -> None:
    with client:
        assert _is_only_message(client.ask(b"x" * 65_537), "Message size too large.")
        assert client.ask(b'{"Operation":"Describe"}')["Status"] == "Ok"


def test_a_message_that_comes_byte_by_byte_is_served(client: RawClient) -> None:
    with client:
        for byte in b'{"Operation":"Describe","Id":"slow"}':
            client.sock.sendall(bytes([byte]))
        assert client.ask(b"")["Id"] == "slow"


def test_two_messages_in_one_write_get_two_replies_in_order(client: RawClient) -> None:
    with client:
        client.sock.sendall(b'{"Operation":"Describe","Id":"1"}\0{"Operation":"Nothing","Id":"2"}\0')
        assert [client.read()["Id"], client.read()["Id"]] == ["1", "2"]
