from __future__ import annotations

import json
import os
import ssl
import tempfile
import threading
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ParamValidationError,
    SSLError,
)

from enclave_tool.errors import CmsError, NsmError, RecipientError
from enclave_tool.kms.client import ATTESTED_OPERATIONS, attest_client, attested_kms_client
from enclave_tool.kms.transport import tls_context
from enclave_tool.recipient.recipient import Recipient, RecipientKey
from tests.support.enclave.scripted_nsm import ScriptedNsm
from tests.support.kms.ber_messages import SHAPES, Shape, seal
from tests.support.kms.canned_kms import Answer, Call, CannedKms, ThrowawayAuthority
from vsock_wire.net.address import UnixAddress
from vsock_wire.protocol.messages import Credentials

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

REGION = "us-east-1"
CREDENTIALS = Credentials("AKIDEXAMPLE", "theSecretAccessKey", "theSessionToken")
PLAINTEXT = b"the attested plaintext"

ATTESTED: dict[str, Callable[[KMSClient], Any]] = {
    "Decrypt": lambda client: client.decrypt(CiphertextBlob=b"blob"),
    "GenerateDataKey": lambda client: client.generate_data_key(KeyId="k", KeySpec="AES_256"),
    "GenerateDataKeyPair": lambda client: client.generate_data_key_pair(KeyId="k", KeyPairSpec="ECC_NIST_P256"),
    "GenerateRandom": lambda client: client.generate_random(NumberOfBytes=32),
    "DeriveSharedSecret": lambda client: client.derive_shared_secret(
        KeyId="k", KeyAgreementAlgorithm="ECDH", PublicKey=b"point"
    ),
}
UNATTESTED: dict[str, Callable[[KMSClient], Any]] = {
    "Encrypt": lambda client: client.encrypt(KeyId="k", Plaintext=b"p"),
    "ReEncrypt": lambda client: client.re_encrypt(CiphertextBlob=b"c", DestinationKeyId="k"),
    "Sign": lambda client: client.sign(KeyId="k", Message=b"m", SigningAlgorithm="ECDSA_SHA_256"),
    "GenerateMac": lambda client: client.generate_mac(KeyId="k", Message=b"m", MacAlgorithm="HMAC_SHA_256"),
    "GenerateDataKeyWithoutPlaintext": lambda client: client.generate_data_key_without_plaintext(
        KeyId="k", KeySpec="AES_256"
    ),
    "GenerateDataKeyPairWithoutPlaintext": lambda client: client.generate_data_key_pair_without_plaintext(
        KeyId="k", KeyPairSpec="RSA_2048"
    ),
    "DescribeKey": lambda client: client.describe_key(KeyId="k"),
    "ListKeys": lambda client: client.list_keys(),
}


@dataclass
class World:
    """One KMS and one client for all tests of this file, because making a client costs a quarter of a second."""

    kms: CannedKms
    nsm: ScriptedNsm
    recipient: Recipient
    tls: ssl.SSLContext
    client: KMSClient


@pytest.fixture(scope="module")
def shared_world(authority: ThrowawayAuthority, recipient_key: RecipientKey) -> Iterator[World]:
    with (
        tempfile.TemporaryDirectory(prefix="kt-") as folder,
        CannedKms(UnixAddress(f"{folder}/kms"), authority.server_context("kms.us-east-1.amazonaws.com")) as kms,
    ):
        tls = tls_context(str(authority.write_bundle(Path(folder) / "authority.pem")))
        nsm = ScriptedNsm()
        recipient = Recipient(nsm, key=recipient_key)
        client = attested_kms_client(recipient, region=REGION, credentials=CREDENTIALS, proxy=kms.address, tls=tls)
        yield World(kms, nsm, recipient, tls, client)
        client.close()


@pytest.fixture
def world(shared_world: World) -> World:
    """The shared one, as if nothing had happened yet."""
    shared_world.kms.forget()
    shared_world.nsm.carrier.forget()
    return shared_world


@pytest.fixture
def kms(world: World) -> CannedKms:
    return world.kms


@pytest.fixture
def scripted_nsm(world: World) -> ScriptedNsm:
    return world.nsm


@pytest.fixture
def recipient(world: World) -> Recipient:
    return world.recipient


@pytest.fixture
def client(world: World) -> KMSClient:
    return world.client


@pytest.fixture
def tls(world: World) -> ssl.SSLContext:
    return world.tls


@pytest.fixture
def environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    variables: dict[str, str] = request.param
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def encoded(data: bytes) -> str:
    return b64encode(data).decode()


def sealing(key: RecipientKey, plaintext: bytes = PLAINTEXT, **more: object) -> Callable[[Call], Answer]:
    sealed = encoded(seal(key, plaintext))
    return lambda _call: Answer({"CiphertextForRecipient": sealed, "KeyId": "arn:key", **more})


def chain_text(error: BaseException) -> str:
    """Return everything that printing ``error`` could ever show, causes and contexts included."""
    texts = ["".join(traceback.format_exception(error))]
    seen: BaseException | None = error
    while seen is not None:
        texts += [repr(seen), repr(seen.args), repr(vars(seen))]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(texts)


class TestAttestedOperations:
    @pytest.mark.parametrize("operation", sorted(ATTESTED))
    def test_carries_the_recipient(
        self, client: KMSClient, kms: CannedKms, recipient_key: RecipientKey, operation: str
    ) -> None:
        kms.answer = sealing(recipient_key)
        ATTESTED[operation](client)
        assert kms.calls[0].operation == operation
        assert kms.calls[0].fields["Recipient"] == {
            "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
            "AttestationDocument": encoded(b"document 1"),
        }

    @pytest.mark.parametrize("operation", sorted(ATTESTED))
    def test_puts_the_plaintext_where_callers_of_boto3_look(
        self, client: KMSClient, kms: CannedKms, recipient_key: RecipientKey, operation: str
    ) -> None:
        kms.answer = sealing(recipient_key, CiphertextBlob=encoded(b"blob"))
        answer = ATTESTED[operation](client)
        assert answer[ATTESTED_OPERATIONS[operation]] == PLAINTEXT
        assert "CiphertextForRecipient" not in answer
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200

    def test_are_exactly_those_of_botocores_model(self) -> None:
        model = boto3.client("kms", region_name=REGION).meta.service_model
        with_recipient = {
            name
            for name in model.operation_names
            if "Recipient" in getattr(model.operation_model(name).input_shape, "members", {})
        }
        assert set(ATTESTED_OPERATIONS) == with_recipient == set(ATTESTED)
        for name, field in ATTESTED_OPERATIONS.items():
            members = cast("Any", model.operation_model(name).output_shape).members
            assert {field, "CiphertextForRecipient"} <= set(members)

    @pytest.mark.parametrize("shape", SHAPES[::5], ids=str)
    def test_opens_every_shape(
        self, client: KMSClient, kms: CannedKms, recipient_key: RecipientKey, shape: Shape
    ) -> None:
        kms.answer = lambda _: Answer({"CiphertextForRecipient": encoded(seal(recipient_key, PLAINTEXT, shape))})
        assert client.decrypt(CiphertextBlob=b"c")["Plaintext"] == PLAINTEXT

    def test_sends_a_fresh_document_with_each_call(
        self, client: KMSClient, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key)
        for _ in range(3):
            client.generate_random(NumberOfBytes=1)
        assert [call.document for call in kms.calls] == [b"document 1", b"document 2", b"document 3"]

    def test_sends_all_parameters_along(self, client: KMSClient, kms: CannedKms, recipient_key: RecipientKey) -> None:
        kms.answer = sealing(recipient_key)
        client.decrypt(CiphertextBlob=b"c", EncryptionContext={"a": "1"}, KeyId="k", GrantTokens=["t"])
        fields = {key: value for key, value in kms.calls[0].fields.items() if key != "Recipient"}
        assert fields == {
            "CiphertextBlob": encoded(b"c"),
            "EncryptionContext": {"a": "1"},
            "KeyId": "k",
            "GrantTokens": ["t"],
        }

    def test_does_not_change_the_callers_parameters(
        self, client: KMSClient, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key)
        parameters: Any = {"CiphertextBlob": b"c", "EncryptionContext": {"a": "1"}}
        client.decrypt(**parameters)
        assert parameters == {"CiphertextBlob": b"c", "EncryptionContext": {"a": "1"}}

    def test_recipient_of_the_caller_is_refused(self, client: KMSClient, kms: CannedKms) -> None:
        with pytest.raises(ValueError, match="Recipient"):
            client.decrypt(
                CiphertextBlob=b"c",
                Recipient={"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": b"other"},
            )
        assert kms.calls == []

    def test_failing_module_keeps_the_call_from_being_made(
        self, client: KMSClient, kms: CannedKms, scripted_nsm: ScriptedNsm
    ) -> None:
        scripted_nsm.carrier.answer = b"\xa1\x65Error\x6dInternalError"
        with pytest.raises(NsmError):
            client.decrypt(CiphertextBlob=b"c")
        assert kms.connections == 0

    def test_connection_is_kept_between_calls(
        self, client: KMSClient, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key)
        for _ in range(10):
            client.decrypt(CiphertextBlob=b"c")
        assert kms.connections <= 1  # of an earlier test, or one of its own
        assert len({call.connection for call in kms.calls}) == 1

    def test_threads_share_the_client_and_get_their_own_plaintexts(
        self, client: KMSClient, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        def echo(call: Call) -> Answer:
            blob = call.fields["CiphertextBlob"].encode()
            return Answer({"CiphertextForRecipient": encoded(seal(recipient_key, blob))})

        kms.answer = echo
        results: dict[int, bytes] = {}

        def decrypt(number: int) -> None:
            for _ in range(3):
                results[number] = client.decrypt(CiphertextBlob=b"%d" % number)["Plaintext"]

        threads = [threading.Thread(target=decrypt, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {number: encoded(b"%d" % number).encode() for number in range(8)}


class TestOtherOperations:
    @pytest.mark.parametrize("operation", sorted(UNATTESTED))
    def test_carries_no_recipient_and_leaves_the_answer_alone(
        self, client: KMSClient, kms: CannedKms, scripted_nsm: ScriptedNsm, operation: str
    ) -> None:
        kms.answer = lambda _: Answer({"KeyId": "arn:key", "CiphertextBlob": encoded(b"blob")})
        UNATTESTED[operation](client)
        assert kms.calls[0].operation == operation
        assert "Recipient" not in kms.calls[0].fields
        assert scripted_nsm.carrier.requests == []


class TestLeakingAnswers:
    @pytest.mark.parametrize("operation", sorted(ATTESTED))
    @pytest.mark.parametrize("is_sealed_too", [True, False])
    def test_plaintext_in_the_clear_is_refused_and_shows_nowhere(
        self, client: KMSClient, kms: CannedKms, recipient_key: RecipientKey, operation: str, *, is_sealed_too: bool
    ) -> None:
        field = ATTESTED_OPERATIONS[operation]
        leak: dict[str, Any] = {field: encoded(b"leaked plaintext"), "KeyId": "arn:key"}
        if is_sealed_too:
            leak["CiphertextForRecipient"] = encoded(seal(recipient_key, PLAINTEXT))
        kms.answer = lambda _: Answer(leak)
        with pytest.raises(RecipientError) as caught:
            ATTESTED[operation](client)
        assert str(caught.value) == f"KMS {operation}: expected CiphertextForRecipient, got {field} in the clear"
        shown = chain_text(caught.value)
        assert "leaked plaintext" not in shown
        assert encoded(b"leaked plaintext") not in shown

    @pytest.mark.parametrize("operation", sorted(ATTESTED))
    @pytest.mark.parametrize("fields", [{}, {"CiphertextForRecipient": ""}, {"CiphertextForRecipient": None}])
    def test_answer_with_neither_is_refused(
        self, client: KMSClient, kms: CannedKms, operation: str, fields: dict[str, object]
    ) -> None:
        kms.answer = lambda _: Answer({**fields, "KeyId": "arn:key"})
        with pytest.raises(RecipientError, match="got neither"):
            ATTESTED[operation](client)

    def test_empty_plaintext_beside_the_sealed_one_is_no_leak(
        self, client: KMSClient, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key, Plaintext=None)
        assert client.decrypt(CiphertextBlob=b"c")["Plaintext"] == PLAINTEXT

    def test_message_for_another_key_is_refused(
        self, client: KMSClient, kms: CannedKms, other_recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(other_recipient_key)
        with pytest.raises(CmsError, match="made for another key"):
            client.decrypt(CiphertextBlob=b"c")

    @pytest.mark.parametrize("sealed", [b"\x30\x80", b"garbage", bytes(6_145), b"\x30\x80" * 3_000])
    def test_malformed_message_is_a_cms_error(self, client: KMSClient, kms: CannedKms, sealed: bytes) -> None:
        kms.answer = lambda _: Answer({"CiphertextForRecipient": encoded(sealed)})
        with pytest.raises(CmsError):
            client.decrypt(CiphertextBlob=b"c")

    @pytest.mark.parametrize("status", [300, 304, 307])
    def test_plaintext_of_a_redirect_never_reaches_the_caller(
        self, client: KMSClient, kms: CannedKms, status: int
    ) -> None:
        kms.answer = lambda _: Answer({"Plaintext": encoded(b"leaked plaintext")}, status)
        with pytest.raises(ClientError) as caught:
            client.decrypt(CiphertextBlob=b"c")
        assert "leaked plaintext" not in chain_text(caught.value)


class TestErrorAnswers:
    @pytest.mark.parametrize("operation", sorted(ATTESTED))
    def test_pass_untouched(self, client: KMSClient, kms: CannedKms, operation: str) -> None:
        kms.answer = lambda _: Answer({"__type": "AccessDeniedException", "Message": "no resource-based policy"}, 400)
        with pytest.raises(ClientError) as caught:
            ATTESTED[operation](client)
        response = caught.value.response
        assert response["Error"]["Code"] == "AccessDeniedException"
        assert response["Error"]["Message"] == "no resource-based policy"
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert response["ResponseMetadata"]["RequestId"] == "11111111-2222-3333-4444-555555555555"

    def test_modelled_exceptions_keep_their_classes(self, client: KMSClient, kms: CannedKms) -> None:
        kms.answer = lambda _: Answer({"__type": "InvalidCiphertextException"}, 400)
        with pytest.raises(client.exceptions.InvalidCiphertextException):
            client.decrypt(CiphertextBlob=b"c")

    def test_throttling_is_retried_with_the_same_document(
        self, client: KMSClient, kms: CannedKms, recipient_key: RecipientKey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
        good = sealing(recipient_key)
        kms.answer = lambda call: (
            good(call) if len(kms.calls) == 3 else Answer({"__type": "ThrottlingException", "message": "slow"}, 400)
        )
        assert client.decrypt(CiphertextBlob=b"c")["Plaintext"] == PLAINTEXT
        assert [call.document for call in kms.calls] == [b"document 1"] * 3

    def test_wrong_parameter_is_boto3s_own_error(self, client: KMSClient, kms: CannedKms) -> None:
        with pytest.raises(ParamValidationError):
            client.decrypt(CiphertextBlob=b"c", KeyId="")
        assert kms.connections == 0


class TestEndpoint:
    def test_request_is_signed_with_the_given_credentials(
        self, client: KMSClient, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key)
        client.decrypt(CiphertextBlob=b"c")
        headers = kms.calls[0].headers
        assert "Credential=AKIDEXAMPLE/" in headers["authorization"]
        assert "/us-east-1/kms/aws4_request" in headers["authorization"]
        assert headers["x-amz-security-token"] == "theSessionToken"
        assert b"theSecretAccessKey" not in kms.calls[0].raw

    @pytest.mark.parametrize(
        ("region", "host"),
        [
            ("eu-central-1", "kms.eu-central-1.amazonaws.com"),
            ("cn-north-1", "kms.cn-north-1.amazonaws.com.cn"),
            ("us-gov-west-1", "kms.us-gov-west-1.amazonaws.com"),
        ],
    )
    def test_host_follows_the_region_and_its_partition(
        self, authority: ThrowawayAuthority, tls: ssl.SSLContext, recipient: Recipient, region: str, host: str
    ) -> None:
        with (
            tempfile.TemporaryDirectory(prefix="kt-") as folder,
            CannedKms(UnixAddress(f"{folder}/r"), authority.server_context(host)) as kms,
        ):
            kms.answer = sealing(recipient.key)
            client = attested_kms_client(recipient, region=region, credentials=CREDENTIALS, proxy=kms.address, tls=tls)
            assert client.generate_random(NumberOfBytes=1)["Plaintext"] == PLAINTEXT
            client.close()
            assert kms.server_names == [host]

    @pytest.mark.parametrize(
        "environment",
        [
            {"AWS_ENDPOINT_URL": "https://evil.example"},
            {"AWS_ENDPOINT_URL_KMS": "https://evil.example"},
            {"HTTPS_PROXY": "http://127.0.0.1:1"},
            {"AWS_ACCESS_KEY_ID": "AKIDOTHER", "AWS_SECRET_ACCESS_KEY": "other"},
            {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-west-1"},
            {"AWS_CA_BUNDLE": "/dev/null"},
        ],
        indirect=True,
    )
    def test_environment_changes_neither_endpoint_nor_credentials(
        self, kms: CannedKms, tls: ssl.SSLContext, recipient: Recipient, environment: dict[str, str]
    ) -> None:
        assert environment.items() <= os.environ.items()
        kms.answer = sealing(recipient.key)
        client = attested_kms_client(recipient, region=REGION, credentials=CREDENTIALS, proxy=kms.address, tls=tls)
        assert client.generate_random(NumberOfBytes=1)["Plaintext"] == PLAINTEXT
        client.close()
        assert kms.calls[0].headers["host"] == "kms.us-east-1.amazonaws.com"
        assert "Credential=AKIDEXAMPLE/" in kms.calls[0].headers["authorization"]

    def test_endpoint_host_replaces_the_regions(
        self, short_dir: Path, authority: ThrowawayAuthority, tls: ssl.SSLContext, recipient: Recipient
    ) -> None:
        with CannedKms(UnixAddress(str(short_dir / "r")), authority.server_context("kms.local")) as kms:
            kms.answer = sealing(recipient.key)
            client = attested_kms_client(
                recipient,
                region=REGION,
                credentials=CREDENTIALS,
                proxy=kms.address,
                endpoint_host="kms.local:4443",
                tls=tls,
            )
            assert client.generate_random(NumberOfBytes=1)["Plaintext"] == PLAINTEXT
            client.close()
            assert kms.calls[0].headers["host"] == "kms.local:4443"

    def test_peer_that_cannot_show_it_is_kms_gets_no_request(
        self, kms: CannedKms, tls: ssl.SSLContext, recipient: Recipient
    ) -> None:
        client = attested_kms_client(recipient, region="eu-west-1", credentials=CREDENTIALS, proxy=kms.address, tls=tls)
        with pytest.raises(SSLError):
            client.decrypt(CiphertextBlob=b"c")
        client.close()
        assert kms.calls == []

    def test_proxy_that_is_not_there_is_an_endpoint_error(
        self, short_dir: Path, tls: ssl.SSLContext, recipient: Recipient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
        client = attested_kms_client(
            recipient,
            region=REGION,
            credentials=CREDENTIALS,
            proxy=UnixAddress(str(short_dir / "nobody")),
            tls=tls,
        )
        with pytest.raises(EndpointConnectionError):
            client.decrypt(CiphertextBlob=b"c")
        client.close()

    def test_connection_closed_in_mid_request_ends(
        self, client: KMSClient, kms: CannedKms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
        kms.answer = lambda _: None
        with pytest.raises(ConnectionClosedError):
            client.decrypt(CiphertextBlob=b"c")
        assert len(kms.calls) == 3

    def test_session_of_the_application_gives_the_credentials(
        self, kms: CannedKms, tls: ssl.SSLContext, recipient: Recipient
    ) -> None:
        kms.answer = sealing(recipient.key)
        session = boto3.Session(aws_access_key_id="AKIDSESSION", aws_secret_access_key="x")
        client = attested_kms_client(recipient, region=REGION, session=session, proxy=kms.address, tls=tls)
        client.generate_random(NumberOfBytes=1)
        client.close()
        assert "Credential=AKIDSESSION/" in kms.calls[0].headers["authorization"]


class TestAttestClient:
    def test_makes_a_client_that_someone_else_made_carry_the_recipient(
        self, kms: CannedKms, tls: ssl.SSLContext, recipient: Recipient
    ) -> None:
        """Attested twice over, the second would replace the first one's Recipient: that is refused."""
        kms.answer = sealing(recipient.key)
        client = attested_kms_client(recipient, region=REGION, credentials=CREDENTIALS, proxy=kms.address, tls=tls)
        attest_client(client, recipient)
        with pytest.raises(ValueError, match="Recipient"):
            client.decrypt(CiphertextBlob=b"c")
        client.close()


def test_debug_log_of_ours_shows_neither_plaintext_nor_credentials(
    client: KMSClient, kms: CannedKms, recipient_key: RecipientKey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "enclave_tool")
    kms.answer = sealing(recipient_key)
    client.decrypt(CiphertextBlob=b"c")
    shown = json.dumps([record.getMessage() for record in caplog.records if record.name.startswith("enclave_tool")])
    for secret in (PLAINTEXT.decode(), "theSecretAccessKey", "theSessionToken"):
        assert secret not in shown
