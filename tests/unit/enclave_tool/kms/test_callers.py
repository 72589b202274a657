from __future__ import annotations

import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError

from enclave_tool.errors import (
    CmsError,
    KmsError,
    KmsUnreachableError,
    NsmError,
    ProxyUnreachableError,
    RecipientError,
    TlsError,
)
from enclave_tool.kms import callers as kms_clients
from enclave_tool.kms.callers import KmsClients, KmsRoute
from enclave_tool.kms.client import attested_kms_client, proxied_kms_client
from enclave_tool.kms.clock_skew import SignableRequest
from enclave_tool.kms.failures import kms_failure
from enclave_tool.kms.regional import Tries
from enclave_tool.kms.transport import HttpAnswer, tls_context
from enclave_tool.recipient.recipient import Recipient, RecipientKey
from tests.support.enclave.scripted_nsm import ScriptedNsm
from tests.support.kms.ber_messages import seal
from tests.support.kms.canned_kms import Answer, Call, CannedKms, ThrowawayAuthority
from tests.support.kms.decrypting import decrypt_answer, decrypt_request
from vsock_wire.errors import ToolError
from vsock_wire.net.address import UnixAddress
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.vocabulary import EnclaveCode, Operation, RequestError

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

CREDENTIALS = Credentials("AKIDEXAMPLE", "theSecretAccessKey", "theSessionToken")
REGION = "us-east-1"
REQUEST = decrypt_request(b"c")


@pytest.fixture(autouse=True)
def _no_pauses_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enclave_tool.kms.regional.time.sleep", lambda _: None)


@pytest.fixture
def bundle(authority: ThrowawayAuthority, tmp_path: Path) -> Path:
    return authority.write_bundle(tmp_path / "authority.pem")


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[KMSClient]]:
    """Every boto3 client that is made, closed in the end."""
    made: list[KMSClient] = []

    def record(*args: Any, **options: Any) -> KMSClient:
        made.append(proxied_kms_client(*args, **options))
        return made[-1]

    monkeypatch.setattr(kms_clients, "proxied_kms_client", record)
    yield made
    for client in made:
        client.close()


@pytest.fixture
def clients(kms: CannedKms, bundle: Path, recipient_key: RecipientKey, scripted_nsm: ScriptedNsm) -> KmsClients:
    return KmsClients(Recipient(scripted_nsm, key=recipient_key), KmsRoute(kms.address, tls_context(str(bundle))))


def sealing(key: RecipientKey, **more: object) -> Callable[[Call], Answer]:
    sealed = b64encode(seal(key, b"plaintext")).decode()
    return lambda _call: Answer({"CiphertextForRecipient": sealed, **more})


class TestDecrypt:
    def test_gives_plaintext_key_and_algorithm(
        self, clients: KmsClients, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key, KeyId="arn:key", EncryptionAlgorithm="SYMMETRIC_DEFAULT")
        result = clients.caller(CREDENTIALS, REGION).call(REQUEST, Tries())
        del result["ResponseMetadata"]
        assert result == decrypt_answer(b"plaintext", "arn:key", "SYMMETRIC_DEFAULT")

    def test_sends_only_the_fields_that_were_set(
        self, clients: KmsClients, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key)
        clients.caller(CREDENTIALS, REGION).call(REQUEST, Tries())
        assert set(kms.calls[0].fields) == {"CiphertextBlob", "Recipient"}

    def test_sends_every_field(self, clients: KmsClients, kms: CannedKms, recipient_key: RecipientKey) -> None:
        kms.answer = sealing(recipient_key)
        request = decrypt_request(b"c", {"a": "1"}, "alias/k", "ANY_TEXT_FOR_KMS_TO_REFUSE", ("t1", "t2"))
        clients.caller(CREDENTIALS, REGION).call(request, Tries())
        fields = {name: value for name, value in kms.calls[0].fields.items() if name != "Recipient"}
        assert fields == {
            "CiphertextBlob": "Yw==",
            "EncryptionContext": {"a": "1"},
            "KeyId": "alias/k",
            "EncryptionAlgorithm": "ANY_TEXT_FOR_KMS_TO_REFUSE",
            "GrantTokens": ["t1", "t2"],
        }

    def test_refusal_of_kms_is_a_kms_error(self, clients: KmsClients, kms: CannedKms) -> None:
        kms.answer = lambda _: Answer({"__type": "AccessDeniedException", "message": "no"}, 400)
        with pytest.raises(KmsError, match=r"^AccessDeniedException: no$") as caught:
            clients.caller(CREDENTIALS, REGION).call(REQUEST, Tries())
        assert caught.value.http_status == 400

    def test_plaintext_in_the_clear_is_a_recipient_error(self, clients: KmsClients, kms: CannedKms) -> None:
        kms.answer = lambda _: Answer({"Plaintext": "c2VjcmV0"})
        with pytest.raises(RecipientError):
            clients.caller(CREDENTIALS, REGION).call(REQUEST, Tries())

    def test_message_for_another_key_is_a_cms_error(
        self, clients: KmsClients, kms: CannedKms, other_recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(other_recipient_key)
        with pytest.raises(CmsError):
            clients.caller(CREDENTIALS, REGION).call(REQUEST, Tries())

    def test_silent_module_is_an_nsm_error(self, clients: KmsClients, scripted_nsm: ScriptedNsm) -> None:
        scripted_nsm.carrier.answer = b""
        with pytest.raises(NsmError):
            clients.caller(CREDENTIALS, REGION).call(REQUEST, Tries())

    def test_closing_kms_is_kms_not_reached(self, clients: KmsClients, kms: CannedKms) -> None:
        kms.answer = lambda _: None
        with pytest.raises(KmsUnreachableError):
            clients.caller(CREDENTIALS, REGION).call(REQUEST, Tries())

    def test_kms_that_closed_while_idle_is_called_again(
        self, clients: KmsClients, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key)
        caller = clients.caller(CREDENTIALS, REGION)
        caller.call(REQUEST, Tries())
        kms.drop_connections()
        assert caller.call(REQUEST, Tries())["Plaintext"] == b"plaintext"
        assert kms.connections == 2

    def test_another_host_is_a_tls_error(self, clients: KmsClients, kms: CannedKms) -> None:
        with pytest.raises(TlsError, match=r"^TLS with kms\.eu-west-1\.amazonaws\.com: certificate refused: Hostname"):
            clients.caller(CREDENTIALS, "eu-west-1").call(REQUEST, Tries())
        assert kms.calls == []

    def test_another_authority_is_a_tls_error(
        self, kms: CannedKms, recipient_key: RecipientKey, tmp_path: Path
    ) -> None:
        other = ThrowawayAuthority().write_bundle(tmp_path / "other.pem")
        clients = KmsClients(
            Recipient(ScriptedNsm(), key=recipient_key), KmsRoute(kms.address, tls_context(str(other)))
        )
        with pytest.raises(TlsError, match="certificate refused"):
            clients.caller(CREDENTIALS, REGION).call(REQUEST, Tries())

    def test_missing_proxy_is_a_proxy_error(self, bundle: Path, recipient_key: RecipientKey, short_dir: Path) -> None:
        route = KmsRoute(UnixAddress(str(short_dir / "nobody")), tls_context(str(bundle)))
        clients = KmsClients(Recipient(ScriptedNsm(), key=recipient_key), route)
        with pytest.raises(ProxyUnreachableError, match=r"^connect to proxy unix:.*nobody: no such file or directory$"):
            clients.caller(CREDENTIALS, REGION).call(REQUEST, Tries())

    @pytest.mark.parametrize(
        "body", [b"[]", b'"text"', b"17", b"null", b"{", b"\xff\xfe", b'{"CiphertextForRecipient": "!"}']
    )
    def test_answer_that_is_not_kmss_is_an_error_of_ours(
        self, clients: KmsClients, kms: CannedKms, body: bytes
    ) -> None:
        kms.answer = lambda _: Answer(body)
        with pytest.raises(ToolError):
            clients.caller(CREDENTIALS, REGION).call(REQUEST, Tries())


class TestCallers:
    def test_connections_are_shared_by_all_credentials_of_a_region(
        self, clients: KmsClients, kms: CannedKms, recipient_key: RecipientKey, made: list[KMSClient]
    ) -> None:
        kms.answer = sealing(recipient_key)
        for number in range(5):
            credentials = Credentials(f"AKID{number}", "theSecretAccessKey", None)
            clients.caller(credentials, REGION).call(REQUEST, Tries())
        assert kms.connections == 1
        assert len(made) == 1

    def test_each_signs_with_its_own_credentials(
        self, clients: KmsClients, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key)
        callers = [clients.caller(Credentials(name, "s", f"token of {name}"), REGION) for name in ("AKIDA", "AKIDB")]
        for caller in (*callers, *reversed(callers)):
            caller.call(REQUEST, Tries())
        signers = [call.headers["authorization"].partition("Credential=")[2][:5] for call in kms.calls]
        assert signers == ["AKIDA", "AKIDB", "AKIDB", "AKIDA"]
        assert [call.headers["x-amz-security-token"][-5:] for call in kms.calls] == signers

    def test_least_recently_used_region_is_dropped(
        self, clients: KmsClients, monkeypatch: pytest.MonkeyPatch, made: list[KMSClient]
    ) -> None:
        monkeypatch.setattr(kms_clients, "MAX_REGIONS", 2)
        for region in (REGION, "eu-west-1", REGION, "eu-west-2", REGION, "eu-west-1"):
            clients.caller(CREDENTIALS, region)
        assert [client.meta.region_name for client in made] == [REGION, "eu-west-1", "eu-west-2", "eu-west-1"]

    def test_caller_of_a_dropped_region_still_serves_who_holds_it(
        self, clients: KmsClients, kms: CannedKms, recipient_key: RecipientKey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kms_clients, "MAX_REGIONS", 1)
        kms.answer = sealing(recipient_key)
        first = clients.caller(CREDENTIALS, REGION)
        clients.caller(CREDENTIALS, "eu-west-1")
        assert first.call(REQUEST, Tries())["Plaintext"] == b"plaintext"

    @pytest.mark.parametrize(
        "region", ["", "-", "a b", "us-east-1.evil.example", "us-east-1/", "x\r\ny", "\u00e9", "a" * 500]
    )
    def test_region_that_botocore_refuses_is_a_request_error(self, clients: KmsClients, region: str) -> None:
        with pytest.raises(RequestError, match=r"^Could not create new client$") as caught:
            clients.caller(CREDENTIALS, region)
        assert caught.value.code is EnclaveCode.CLIENT_FAILED

    def test_refused_region_leaves_those_that_are_there(
        self, clients: KmsClients, monkeypatch: pytest.MonkeyPatch, made: list[KMSClient]
    ) -> None:
        monkeypatch.setattr(kms_clients, "MAX_REGIONS", 2)
        clients.caller(CREDENTIALS, REGION)
        for region in ("a b", "c d", "e f"):
            with pytest.raises(RequestError):
                clients.caller(CREDENTIALS, region)
        clients.caller(CREDENTIALS, REGION)
        assert len(made) == 1

    def test_ready_caller_is_given_while_another_is_being_made(
        self, clients: KmsClients, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clients.caller(CREDENTIALS, REGION)
        is_making, may_go_on = threading.Event(), threading.Event()

        def make_slowly(*args: Any, **options: Any) -> KMSClient:
            is_making.set()
            assert may_go_on.wait(5)
            return proxied_kms_client(*args, **options)

        monkeypatch.setattr(kms_clients, "proxied_kms_client", make_slowly)
        thread = threading.Thread(target=clients.caller, args=(CREDENTIALS, "eu-west-1"))
        thread.start()
        assert is_making.wait(5)
        clients.caller(CREDENTIALS, REGION)
        assert thread.is_alive()
        may_go_on.set()
        thread.join()

    def test_threads_that_come_at_once_share_one(self, clients: KmsClients, made: list[KMSClient]) -> None:
        start = threading.Barrier(6)

        def ask() -> None:
            start.wait()
            clients.caller(CREDENTIALS, REGION)

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 1


class TestTries:
    """Which failures are tried again, how often, and in what time."""

    def test_one_is_counted_where_one_was_enough(
        self, clients: KmsClients, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key)
        tries = Tries()
        clients.caller(CREDENTIALS, REGION).call(REQUEST, tries)
        assert tries.count == 1

    @pytest.mark.parametrize(
        "failure",
        [
            Answer({"__type": "ThrottlingException"}, 400),
            Answer({"__type": "KMSInternalException"}, 500),
            Answer(b"", 503),
            None,
        ],
    )
    def test_a_failure_that_passes_is_tried_again(
        self, clients: KmsClients, kms: CannedKms, recipient_key: RecipientKey, failure: Answer | None
    ) -> None:
        sealed, failures = sealing(recipient_key), iter([failure, failure])
        kms.answer = lambda call: next(failures, sealed(call))
        tries = Tries()
        assert clients.caller(CREDENTIALS, REGION).call(REQUEST, tries)["Plaintext"] == b"plaintext"
        assert tries.count == 3

    @pytest.mark.parametrize("failure", [Answer({"__type": "ThrottlingException"}, 400), Answer(b"", 503), None])
    def test_three_times_at_most(self, clients: KmsClients, kms: CannedKms, failure: Answer | None) -> None:
        kms.answer = lambda _: failure
        tries = Tries()
        with pytest.raises(ToolError):
            clients.caller(CREDENTIALS, REGION).call(REQUEST, tries)
        assert tries.count == 3

    @pytest.mark.parametrize("code", ["AccessDeniedException", "InvalidCiphertextException", "ExpiredTokenException"])
    def test_a_refusal_is_not_repeated(self, clients: KmsClients, kms: CannedKms, code: str) -> None:
        kms.answer = lambda _: Answer({"__type": code}, 400)
        tries = Tries()
        with pytest.raises(KmsError):
            clients.caller(CREDENTIALS, REGION).call(REQUEST, tries)
        assert tries.count == 1

    def test_no_try_begins_once_the_time_is_over(
        self, clients: KmsClients, kms: CannedKms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("random.random", lambda: 1.0)
        kms.answer = lambda _: Answer({"__type": "ThrottlingException"}, 400, {"x-amz-retry-after": "5000"})
        tries = Tries(timeout_s=1.0)
        with pytest.raises(KmsError, match="ThrottlingException"):
            clients.caller(CREDENTIALS, REGION).call(REQUEST, tries)
        assert tries.count == 1

    def test_a_wait_for_kms_ends_with_the_time(self, clients: KmsClients, kms: CannedKms) -> None:
        may_answer = threading.Event()

        def hold(_call: Call) -> Answer | None:
            may_answer.wait(10)
            return None

        kms.answer = hold
        tries = Tries(timeout_s=0.3)
        started = time.monotonic()
        with pytest.raises(KmsUnreachableError):
            clients.caller(CREDENTIALS, REGION).call(REQUEST, tries)
        waited_s = time.monotonic() - started
        may_answer.set()
        assert 0.2 < waited_s < 3.0
        assert tries.count == 1

    def test_quota_of_retries_is_given_back(
        self, clients: KmsClients, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        """botocore lends 500 in all, 5 to 14 for each retry, and gets it back with an answer that is good."""
        caller, sealed = clients.caller(CREDENTIALS, REGION), sealing(recipient_key)
        for _ in range(120):
            failures = iter([Answer(b"", 503)])
            kms.answer = lambda call, failures=failures: next(failures, sealed(call))  # type: ignore[misc] # binds early
            assert caller.call(REQUEST, Tries())["Plaintext"] == b"plaintext"


def test_repr_of_a_request_and_of_an_answer_shows_no_secret() -> None:
    request = SignableRequest("POST", "https://kms/", {"X-Amz-Security-Token": "t0ken"}, b"b0dy")
    answer = HttpAnswer(200, {"Set-Cookie": "t0ken"}, b"b0dy")
    for text in (repr(request), str(request), repr(answer), str(answer), f"{(answer, {})}"):
        assert "t0ken" not in text
        assert "b0dy" not in text


class TestSameAsBoto3:
    """The server's own path and the boto3 client of the library send the same, and make the same of every answer."""

    @pytest.fixture(autouse=True)
    def _sealed(self, kms: CannedKms, recipient_key: RecipientKey) -> None:
        kms.answer = sealing(recipient_key, KeyId="arn:aws:kms:us-east-1:1:key/k", CiphertextBlob="Yw==")

    @pytest.fixture
    def library(self, kms: CannedKms, bundle: Path, recipient_key: RecipientKey) -> Iterator[KMSClient]:
        client = attested_kms_client(
            Recipient(ScriptedNsm(), key=recipient_key), region=REGION, credentials=CREDENTIALS,
            proxy=kms.address, tls=tls_context(str(bundle)),
        )  # fmt: skip
        yield client
        client.close()

    @pytest.mark.parametrize(
        ("operation", "parameters"),
        [
            ("Decrypt", {"CiphertextBlob": b"c", "EncryptionContext": {"a": "\u00e9"}, "GrantTokens": ["t"]}),
            ("GenerateDataKey", {"KeyId": "alias/k", "NumberOfBytes": 64}),
            ("GenerateDataKeyPair", {"KeyId": "alias/k", "KeyPairSpec": "ECC_NIST_P256"}),
            ("GenerateRandom", {"NumberOfBytes": 32}),
            ("DeriveSharedSecret", {"KeyId": "k", "KeyAgreementAlgorithm": "ECDH", "PublicKey": b"p"}),
            ("Encrypt", {"KeyId": "k", "Plaintext": b"p"}),
        ],
    )
    def test_requests(
        self, clients: KmsClients, kms: CannedKms, library: KMSClient, operation: str, parameters: dict[str, Any]
    ) -> None:
        ours = clients.caller(CREDENTIALS, REGION).call(KmsRequest(Operation(operation), parameters), Tries())
        theirs = getattr(library, xform_name(operation))(**parameters)
        first, second = kms.calls
        assert (first.operation, first.fields) == (second.operation, second.fields)
        told = ("host", "content-type", "content-length", "x-amz-target", "x-amz-security-token")
        assert [first.headers[name] for name in told] == [second.headers[name] for name in told]
        assert ours == theirs

    @pytest.mark.parametrize(
        "answer",
        [
            Answer({"__type": "AccessDeniedException", "message": "no"}, 400),
            Answer({"__type": "com.amazonaws.kms#DisabledException", "Message": "off"}, 400),
            Answer({"__type": "InvalidCiphertextException", "Plaintext": "c2VjcmV0"}, 400),
            Answer(b"<html>", 502),
            Answer(b"", 500),
            Answer({"Plaintext": "c2VjcmV0"}),
            Answer({}),
            Answer({"CiphertextForRecipient": "AQID"}),
            Answer(b"[]"),
            None,
        ],
    )
    def test_failures(self, clients: KmsClients, kms: CannedKms, library: KMSClient, answer: Answer | None) -> None:
        kms.answer = lambda _: answer
        with pytest.raises(ToolError) as ours:
            clients.caller(CREDENTIALS, REGION).call(REQUEST, Tries())
        requests = len(kms.calls)
        with pytest.raises(Exception) as theirs:  # noqa: PT011 - whichever it is
            library.decrypt(CiphertextBlob=b"c")
        assert len(kms.calls) == 2 * requests
        expected = theirs.value
        if isinstance(expected, (BotoCoreError, ClientError)):
            expected = kms_failure(expected, kms.address)
        if isinstance(expected, ToolError):
            assert (type(ours.value), str(ours.value)) == (type(expected), str(expected))
        else:  # what botocore's parser stumbles over has no one type
            assert isinstance(ours.value, RecipientError)
