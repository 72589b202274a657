from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError, SSLError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nitro_simulator.kms.journal import OK
from nitro_simulator.kms.operations.table import OPERATIONS
from nitro_simulator.kms.server import MAX_BODY_BYTES, KmsServer
from nitro_simulator.pki.tls import TlsAuthority
from tests.support.kms.world import (
    ROLE,
    SESSION_ARN,
    Enclave,
    KmsWorld,
    RawClient,
    attested_policy,
    boto_client,
    ca_file,
)
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.messages import Credentials

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

SECRET = b"attack at dawn"
CONTEXT = {"purpose": "test", "tenant": "7"}
ABOUT_SIGNING = {"Sign", "Verify"}
ABOUT_DELETION = {"ScheduleKeyDeletion", "CancelKeyDeletion"}
ABOUT_GRANTS = {"CreateGrant", "ListGrants", "ListRetirableGrants", "RetireGrant", "RevokeGrant"}


def _error(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, str | None, int]:
    response: Any = error.value.response
    return response["Error"]["Code"], response["Error"].get("Message"), response["ResponseMetadata"]["HTTPStatusCode"]


# boto3 as the client


def test_attested_decrypt_answers_ciphertext_for_recipient_only(
    kms_client: KMSClient, world: KmsWorld, enclave: Enclave
) -> None:
    key = world.kms.create_key(policy=attested_policy())
    blob = kms_client.encrypt(KeyId=key.arn, Plaintext=SECRET, EncryptionContext=CONTEXT)["CiphertextBlob"]

    answer = kms_client.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT, Recipient=enclave.recipient())

    assert not answer.keys() & {"Plaintext"}
    assert enclave.open(answer["CiphertextForRecipient"]) == SECRET
    assert (answer["KeyId"], answer["EncryptionAlgorithm"]) == (key.arn, "SYMMETRIC_DEFAULT")


def test_decrypt_without_document_is_refused_by_attested_policy(kms_client: KMSClient, world: KmsWorld) -> None:
    key = world.kms.create_key(policy=attested_policy())

    with pytest.raises(ClientError) as error:
        kms_client.decrypt(CiphertextBlob=key.seal(SECRET))

    text = (
        f"User: {SESSION_ARN} is not authorized to perform: kms:Decrypt on resource: {key.arn} "
        "because no resource-based policy allows the kms:Decrypt action"
    )
    assert _error(error) == ("AccessDeniedException", text, 400)


def test_wrong_context_reaches_the_client_as_error_without_text(kms_client: KMSClient, world: KmsWorld) -> None:
    blob = world.kms.create_key().seal(SECRET, encryption_context=CONTEXT)

    with pytest.raises(kms_client.exceptions.InvalidCiphertextException) as error:
        kms_client.decrypt(CiphertextBlob=blob)

    assert _error(error) == ("InvalidCiphertextException", "", 400)


def test_boto3_gets_an_answer_from_every_operation(kms_client: KMSClient, world: KmsWorld, enclave: Enclave) -> None:
    recipient: Any = enclave.recipient()
    key_id = kms_client.create_key(Description="d")["KeyMetadata"]["KeyId"]
    kms_client.create_alias(AliasName="alias/app", TargetKeyId=key_id)
    assert kms_client.describe_key(KeyId="alias/app")["KeyMetadata"]["CreationDate"].tzinfo
    assert [key["KeyId"] for key in kms_client.list_keys()["Keys"]] == [key_id]
    text = kms_client.get_key_policy(KeyId=key_id)["Policy"]
    kms_client.put_key_policy(KeyId=key_id, Policy=text)
    kms_client.disable_key(KeyId=key_id)
    kms_client.enable_key(KeyId=key_id)
    blob = kms_client.encrypt(KeyId=key_id, Plaintext=SECRET)["CiphertextBlob"]
    blob = kms_client.re_encrypt(CiphertextBlob=blob, DestinationKeyId="alias/app")["CiphertextBlob"]
    assert kms_client.decrypt(CiphertextBlob=blob)["Plaintext"] == SECRET
    assert len(kms_client.generate_data_key(KeyId=key_id, KeySpec="AES_256")["Plaintext"]) == 32
    assert kms_client.generate_data_key_without_plaintext(KeyId=key_id)["CiphertextBlob"]
    pair = kms_client.generate_data_key_pair(KeyId=key_id, KeyPairSpec="ECC_NIST_P384", Recipient=recipient)
    serialization.load_der_private_key(enclave.open(pair["CiphertextForRecipient"]), None)
    random = kms_client.generate_random(NumberOfBytes=24, Recipient=recipient)
    assert len(enclave.open(random["CiphertextForRecipient"])) == 24
    agreement_id = kms_client.create_key(KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")["KeyMetadata"]["KeyId"]
    own = serialization.load_der_public_key(kms_client.get_public_key(KeyId=agreement_id)["PublicKey"])
    assert isinstance(own, ec.EllipticCurvePublicKey)
    peer = ec.generate_private_key(ec.SECP256R1())
    secret = kms_client.derive_shared_secret(
        KeyId=agreement_id,
        KeyAgreementAlgorithm="ECDH",
        PublicKey=peer.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        Recipient=recipient,
    )
    assert enclave.open(secret["CiphertextForRecipient"]) == peer.exchange(ec.ECDH(), own)

    entries = world.kms.journal.entries()
    assert {entry.operation for entry in entries} == set(OPERATIONS) - ABOUT_SIGNING - ABOUT_DELETION - ABOUT_GRANTS - {
        "ReplicateKey"
    }
    assert {entry.verdict for entry in entries} == {OK}


def test_boto3_gets_an_answer_from_the_operations_about_signing_and_deletion(
    kms_client: KMSClient, world: KmsWorld
) -> None:
    key_id = kms_client.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    signature = kms_client.sign(KeyId=key_id, Message=SECRET, SigningAlgorithm="ECDSA_SHA_256")["Signature"]
    answer = kms_client.verify(KeyId=key_id, Message=SECRET, SigningAlgorithm="ECDSA_SHA_256", Signature=signature)
    assert answer["SignatureValid"] is True
    assert kms_client.schedule_key_deletion(KeyId=key_id)["DeletionDate"].tzinfo
    assert kms_client.cancel_key_deletion(KeyId=key_id)["KeyId"].endswith(key_id)

    entries = world.kms.journal.entries()
    assert {entry.operation for entry in entries} == ABOUT_SIGNING | ABOUT_DELETION | {"CreateKey"}
    assert {entry.verdict for entry in entries} == {OK}


def test_boto3_gets_an_answer_from_the_operations_about_grants(kms_client: KMSClient, world: KmsWorld) -> None:
    key_id = kms_client.create_key()["KeyMetadata"]["KeyId"]
    for is_retired in (True, False):
        grant = kms_client.create_grant(
            KeyId=key_id, GranteePrincipal=SESSION_ARN, RetiringPrincipal=SESSION_ARN, Operations=["Decrypt"]
        )
        (shown,) = kms_client.list_grants(KeyId=key_id)["Grants"]
        assert (shown["GrantId"], bool(shown["CreationDate"].tzinfo)) == (grant["GrantId"], True)
        assert kms_client.list_retirable_grants(RetiringPrincipal=SESSION_ARN)["Grants"] == [shown]
        if is_retired:
            kms_client.retire_grant(GrantToken=grant["GrantToken"])
        else:
            kms_client.revoke_grant(KeyId=key_id, GrantId=grant["GrantId"])

    entries = world.kms.journal.entries()
    assert {entry.operation for entry in entries} == ABOUT_GRANTS | {"CreateKey"}
    assert {entry.verdict for entry in entries} == {OK}


def test_boto3_itself_refuses_a_recipient_if_kms_accepts_none(kms_client: KMSClient, enclave: Enclave) -> None:
    request: Any = {"KeyId": "alias/app", "Plaintext": b"x", "Recipient": enclave.recipient()}

    with pytest.raises(ParamValidationError, match="Recipient"):
        kms_client.encrypt(**request)


def test_largest_blob_and_document_fit_into_one_request(
    kms_client: KMSClient, world: KmsWorld, enclave: Enclave
) -> None:
    key = world.kms.create_key()
    blob = key.seal(b"p" * 4096, blob_bytes=6144)
    assert kms_client.decrypt(CiphertextBlob=blob)["Plaintext"] == b"p" * 4096

    with pytest.raises(ClientError) as error:
        kms_client.decrypt(CiphertextBlob=blob, Recipient=enclave.recipient() | {"AttestationDocument": b"x" * 262_144})
    assert _error(error)[0] == "ValidationException"


# who may call


@pytest.fixture
def client_with(kms_server: KmsServer, tls_ca_file: Path) -> Iterator[Callable[..., KMSClient]]:
    clients: list[KMSClient] = []

    def make(credentials: Credentials, **options: str) -> KMSClient:
        clients.append(boto_client(kms_server, tls_ca_file, credentials, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_unknown_credentials_are_refused(client_with: Callable[..., KMSClient], world: KmsWorld) -> None:
    with pytest.raises(ClientError) as error:
        client_with(Credentials("AKIDEXAMPLE", "secret", "token")).list_keys()

    text = "The security token included in the request is invalid."
    assert _error(error) == ("UnrecognizedClientException", text, 400)
    (entry,) = world.kms.journal.entries()
    assert (entry.operation, entry.verdict, entry.caller_arn) == ("ListKeys", "UnrecognizedClientException", None)


def test_wrong_secret_is_refused(client_with: Callable[..., KMSClient], world: KmsWorld) -> None:
    good = world.identities.issue(ROLE)

    with pytest.raises(ClientError) as error:
        client_with(Credentials(good.access_key_id, "x" * 40, good.session_token)).list_keys()

    assert _error(error)[0] == "InvalidSignatureException"


def test_expired_credentials_are_refused(client_with: Callable[..., KMSClient], world: KmsWorld) -> None:
    with pytest.raises(ClientError) as error:
        client_with(world.identities.issue(ROLE, lifetime_s=-1)).list_keys()

    text = "The security token included in the request is expired"
    assert _error(error) == ("ExpiredTokenException", text, 400)


def test_skewed_clock_is_refused_with_a_date_to_learn_from(
    client_with: Callable[..., KMSClient], world: KmsWorld
) -> None:
    credentials = world.identities.issue(ROLE)
    world.clock.advance(600)

    with pytest.raises(ClientError) as error:
        client_with(credentials).list_keys()

    code, text, _ = _error(error)
    assert (code, "Signature expired: " in (text or "")) == ("InvalidSignatureException", True)
    assert "date" in error.value.response["ResponseMetadata"]["HTTPHeaders"]


def test_signature_for_another_region_is_refused(client_with: Callable[..., KMSClient], world: KmsWorld) -> None:
    with pytest.raises(ClientError) as error:
        client_with(world.identities.issue(ROLE), region="eu-west-1").list_keys()

    assert "scoped to a valid region" in (_error(error)[1] or "")


# TLS


def test_client_refuses_the_server_of_another_ca(kms_server: KmsServer, world: KmsWorld, tmp_path: Path) -> None:
    client = boto_client(kms_server, ca_file(tmp_path, TlsAuthority.create()), world.identities.issue(ROLE))

    with pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        client.list_keys()
    client.close()
    assert world.kms.journal.entries() == []


def test_client_refuses_a_certificate_for_another_host(
    world: KmsWorld, tls_authority: TlsAuthority, tls_ca_file: Path
) -> None:
    with KmsServer(world.kms, tls=tls_authority.server_certificate("kms.eu-west-1.amazonaws.com")) as server:
        client = boto_client(server, tls_ca_file, world.identities.issue(ROLE))
        with pytest.raises(SSLError, match=r"doesn't match|mismatch"):
            client.list_keys()
        client.close()


# the protocol below


def test_answers_carry_the_headers_of_kms_and_keep_the_connection(raw_client: RawClient) -> None:
    first_status, body, first = raw_client.send(b"{}")
    _, _, second = raw_client.send(b"{}")

    assert (first_status, body) == (200, {"Keys": [], "Truncated": False})
    assert first["Content-Type"] == "application/x-amz-json-1.1"
    assert first["Date"].endswith("GMT")
    assert len(first["x-amzn-RequestId"]) == 36
    assert first["x-amzn-RequestId"] != second["x-amzn-RequestId"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"Limit": 1, "Limit": 2}', b"\xff"])
def test_body_that_is_not_an_object_is_a_serialization_fault(raw_client: RawClient, body: bytes) -> None:
    status, answer, _ = raw_client.send(body)

    assert (status, answer["__type"]) == (400, "SerializationException")


@pytest.mark.parametrize(
    "options",
    [{"target": "TagResource"}, {"target": ""}, {"content_type": "1.0"}, {"method": "PUT"}, {"method": "DELETE"}],
)
def test_anything_but_an_operation_is_unknown(raw_client: RawClient, options: dict[str, str]) -> None:
    assert raw_client.send(b"{}", **options)[:2] == (400, {"__type": "UnknownOperationException"})


def test_denial_is_written_with_a_capital_message_and_others_are_not(raw_client: RawClient, world: KmsWorld) -> None:
    key = world.kms.create_key(policy=attested_policy())

    _, denied, _ = raw_client.send(
        json.dumps({"KeyId": key.arn, "KeySpec": "AES_256"}).encode(), target="GenerateDataKey"
    )
    _, other, _ = raw_client.send(b'{"KeyId": "alias/none"}', target="DescribeKey")

    assert set(denied) == {"__type", "Message"}
    assert set(other) == {"__type", "message"}


def test_bug_in_an_operation_is_answered_without_details(
    raw_client: RawClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> JsonObject:
        raise RuntimeError("a secret")

    monkeypatch.setitem(OPERATIONS, "ListKeys", broken)

    assert raw_client.send(b"{}")[:2] == (500, {"__type": "KMSInternalException"})
    assert "RuntimeError" in caplog.text
    assert "a secret" not in caplog.text
    monkeypatch.undo()
    assert raw_client.send(b"{}")[0] == 200


def test_unsigned_request_is_refused(kms_server: KmsServer, tls_ca_file: Path) -> None:
    connection = HTTPSConnection(
        "localhost", kms_server.port, context=ssl.create_default_context(cafile=str(tls_ca_file)), timeout=10
    )
    connection.request("POST", "/", b"{}", {"X-Amz-Target": "TrentService.ListKeys"})
    response = connection.getresponse()

    assert response.status == 400
    assert json.loads(response.read()) == {
        "__type": "MissingAuthenticationTokenException",
        "message": "Missing Authentication Token",
    }
    connection.close()


def test_body_over_the_limit_is_refused_unread(kms_server: KmsServer, tls_ca_file: Path) -> None:
    connection = HTTPSConnection(
        "localhost", kms_server.port, context=ssl.create_default_context(cafile=str(tls_ca_file)), timeout=10
    )
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", str(MAX_BODY_BYTES + 1))
    connection.endheaders()

    assert connection.getresponse().status == 413
    connection.close()


def test_bad_clients_do_not_delay_a_good_one(kms_server: KmsServer, raw_client: RawClient) -> None:
    address = ("127.0.0.1", kms_server.port)
    silent = [socket.create_connection(address) for _ in range(20)]  # forever in the middle of a handshake
    with socket.create_connection(address) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with socket.create_connection(address) as gone:
        gone.sendall(b"\x16\x03\x01")

    assert raw_client.send(b"{}")[0] == 200
    for sock in silent:
        sock.close()


def test_many_clients_at_once_each_get_their_own_answer(
    world: KmsWorld, kms_server: KmsServer, tls_ca_file: Path, enclave: Enclave
) -> None:
    key = world.kms.create_key(policy=attested_policy())

    def decrypt(number: int) -> bytes:
        client = boto_client(kms_server, tls_ca_file, world.identities.issue(ROLE))
        try:
            blob = key.seal(b"secret %d" % number)
            return enclave.open(
                client.decrypt(CiphertextBlob=blob, Recipient=enclave.recipient())["CiphertextForRecipient"]
            )
        finally:
            client.close()

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(decrypt, range(30))) == [b"secret %d" % number for number in range(30)]
