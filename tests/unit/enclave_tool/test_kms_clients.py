from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from enclave_tool import kms_clients
from enclave_tool.errors import (
    CmsError,
    KmsError,
    KmsUnreachableError,
    NsmError,
    ProxyUnreachableError,
    RecipientError,
    TlsError,
)
from enclave_tool.kms import attested_kms_client
from enclave_tool.kms_clients import KmsClients, KmsRoute
from enclave_tool.recipient import Recipient, RecipientKey
from enclave_tool.transport import tls_context
from tests.unit.decrypting import decrypt_answer, decrypt_request
from tests.unit.enclave_tool.ber_messages import seal
from tests.unit.enclave_tool.canned_kms import Answer, Call, CannedKms, ThrowawayAuthority
from tests.unit.enclave_tool.scripted_nsm import ScriptedNsm
from vsock_wire.address import UnixAddress
from vsock_wire.errors import ToolError
from vsock_wire.messages import Credentials, EnclaveCode, RequestError

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

CREDENTIALS = Credentials("AKIDEXAMPLE", "theSecretAccessKey", "theSessionToken")
REGION = "us-east-1"
REQUEST = decrypt_request(b"c")


@pytest.fixture(autouse=True)
def _no_pauses_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)


@pytest.fixture
def bundle(authority: ThrowawayAuthority, tmp_path: Path) -> Path:
    return authority.write_bundle(tmp_path / "authority.pem")


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[KMSClient]]:
    """Every boto3 client that is made, closed in the end."""
    made: list[KMSClient] = []

    def record(*args: Any, **options: Any) -> KMSClient:
        made.append(attested_kms_client(*args, **options))
        return made[-1]

    monkeypatch.setattr(kms_clients, "attested_kms_client", record)
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
        result = clients.caller(CREDENTIALS, REGION).call(REQUEST)
        del result["ResponseMetadata"]
        assert result == decrypt_answer(b"plaintext", "arn:key", "SYMMETRIC_DEFAULT")

    def test_sends_only_the_fields_that_were_set(
        self, clients: KmsClients, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key)
        clients.caller(CREDENTIALS, REGION).call(REQUEST)
        assert set(kms.calls[0].fields) == {"CiphertextBlob", "Recipient"}

    def test_sends_every_field(self, clients: KmsClients, kms: CannedKms, recipient_key: RecipientKey) -> None:
        kms.answer = sealing(recipient_key)
        request = decrypt_request(b"c", {"a": "1"}, "alias/k", "ANY_TEXT_FOR_KMS_TO_REFUSE", ("t1", "t2"))
        clients.caller(CREDENTIALS, REGION).call(request)
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
            clients.caller(CREDENTIALS, REGION).call(REQUEST)
        assert caught.value.http_status == 400

    def test_plaintext_in_the_clear_is_a_recipient_error(self, clients: KmsClients, kms: CannedKms) -> None:
        kms.answer = lambda _: Answer({"Plaintext": "c2VjcmV0"})
        with pytest.raises(RecipientError):
            clients.caller(CREDENTIALS, REGION).call(REQUEST)

    def test_message_for_another_key_is_a_cms_error(
        self, clients: KmsClients, kms: CannedKms, other_recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(other_recipient_key)
        with pytest.raises(CmsError):
            clients.caller(CREDENTIALS, REGION).call(REQUEST)

    def test_silent_module_is_an_nsm_error(self, clients: KmsClients, scripted_nsm: ScriptedNsm) -> None:
        scripted_nsm.carrier.answer = b""
        with pytest.raises(NsmError):
            clients.caller(CREDENTIALS, REGION).call(REQUEST)

    def test_closing_kms_is_kms_not_reached(self, clients: KmsClients, kms: CannedKms) -> None:
        kms.answer = lambda _: None
        with pytest.raises(KmsUnreachableError):
            clients.caller(CREDENTIALS, REGION).call(REQUEST)

    def test_kms_that_closed_while_idle_is_called_again(
        self, clients: KmsClients, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key)
        caller = clients.caller(CREDENTIALS, REGION)
        caller.call(REQUEST)
        kms.drop_connections()
        assert caller.call(REQUEST)["Plaintext"] == b"plaintext"
        assert kms.connections == 2

    def test_another_host_is_a_tls_error(self, clients: KmsClients, kms: CannedKms) -> None:
        with pytest.raises(TlsError, match=r"^TLS with kms\.eu-west-1\.amazonaws\.com: certificate refused: Hostname"):
            clients.caller(CREDENTIALS, "eu-west-1").call(REQUEST)
        assert kms.calls == []

    def test_another_authority_is_a_tls_error(
        self, kms: CannedKms, recipient_key: RecipientKey, tmp_path: Path
    ) -> None:
        other = ThrowawayAuthority().write_bundle(tmp_path / "other.pem")
        clients = KmsClients(
            Recipient(ScriptedNsm(), key=recipient_key), KmsRoute(kms.address, tls_context(str(other)))
        )
        with pytest.raises(TlsError, match="certificate refused"):
            clients.caller(CREDENTIALS, REGION).call(REQUEST)

    def test_missing_proxy_is_a_proxy_error(self, bundle: Path, recipient_key: RecipientKey, short_dir: Path) -> None:
        route = KmsRoute(UnixAddress(str(short_dir / "nobody")), tls_context(str(bundle)))
        clients = KmsClients(Recipient(ScriptedNsm(), key=recipient_key), route)
        with pytest.raises(ProxyUnreachableError, match=r"^connect to proxy unix:.*nobody: no such file or directory$"):
            clients.caller(CREDENTIALS, REGION).call(REQUEST)

    @pytest.mark.parametrize(
        "body", [b"[]", b'"text"', b"17", b"null", b"{", b"\xff\xfe", b'{"CiphertextForRecipient": "!"}']
    )
    def test_answer_that_is_not_kmss_is_an_error_of_ours(
        self, clients: KmsClients, kms: CannedKms, body: bytes
    ) -> None:
        kms.answer = lambda _: Answer(body)
        with pytest.raises(ToolError):
            clients.caller(CREDENTIALS, REGION).call(REQUEST)


class TestCallers:
    def test_same_credentials_and_region_share_one(self, clients: KmsClients) -> None:
        first = clients.caller(CREDENTIALS, REGION)
        assert clients.caller(Credentials("AKIDEXAMPLE", "theSecretAccessKey", "theSessionToken"), REGION) is first

    @pytest.mark.parametrize(
        ("credentials", "region"),
        [
            (CREDENTIALS, "eu-west-1"),
            (Credentials("AKIDOTHER", "theSecretAccessKey", "theSessionToken"), REGION),
            (Credentials("AKIDEXAMPLE", "otherSecret", "theSessionToken"), REGION),
            (Credentials("AKIDEXAMPLE", "theSecretAccessKey", "otherToken"), REGION),
            (Credentials("AKIDEXAMPLE", "theSecretAccessKey", None), REGION),
        ],
    )
    def test_any_difference_makes_another(self, clients: KmsClients, credentials: Credentials, region: str) -> None:
        assert clients.caller(CREDENTIALS, REGION) is not clients.caller(credentials, region)

    def test_connection_is_shared_by_those_who_share_the_caller(
        self, clients: KmsClients, kms: CannedKms, recipient_key: RecipientKey
    ) -> None:
        kms.answer = sealing(recipient_key)
        for _ in range(5):
            clients.caller(CREDENTIALS, REGION).call(REQUEST)
        assert kms.connections == 1

    def test_least_recently_used_is_dropped(self, clients: KmsClients, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kms_clients, "MAX_CLIENTS", 2)
        first = clients.caller(CREDENTIALS, REGION)
        second = clients.caller(CREDENTIALS, "eu-west-1")
        assert clients.caller(CREDENTIALS, REGION) is first
        clients.caller(CREDENTIALS, "eu-west-2")
        assert clients.caller(CREDENTIALS, REGION) is first
        assert clients.caller(CREDENTIALS, "eu-west-1") is not second

    def test_dropped_caller_still_serves_who_holds_it(
        self, clients: KmsClients, kms: CannedKms, recipient_key: RecipientKey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kms_clients, "MAX_CLIENTS", 1)
        kms.answer = sealing(recipient_key)
        first = clients.caller(CREDENTIALS, REGION)
        clients.caller(CREDENTIALS, "eu-west-1")
        assert first.call(REQUEST)["Plaintext"] == b"plaintext"

    @pytest.mark.parametrize(
        "region", ["", "-", "a b", "us-east-1.evil.example", "us-east-1/", "x\r\ny", "\u00e9", "a" * 500]
    )
    def test_region_that_botocore_refuses_is_a_request_error(self, clients: KmsClients, region: str) -> None:
        with pytest.raises(RequestError, match=r"^Could not create new client$") as caught:
            clients.caller(CREDENTIALS, region)
        assert caught.value.code is EnclaveCode.CLIENT_FAILED

    def test_refused_region_leaves_the_callers_that_are_there(
        self, clients: KmsClients, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kms_clients, "MAX_CLIENTS", 2)
        first = clients.caller(CREDENTIALS, REGION)
        for region in ("a b", "c d", "e f"):
            with pytest.raises(RequestError):
                clients.caller(CREDENTIALS, region)
        assert clients.caller(CREDENTIALS, REGION) is first

    def test_ready_caller_is_given_while_another_is_being_made(
        self, clients: KmsClients, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ready = clients.caller(CREDENTIALS, REGION)
        is_making, may_go_on = threading.Event(), threading.Event()

        def make_slowly(*args: Any, **options: Any) -> KMSClient:
            is_making.set()
            assert may_go_on.wait(5)
            return attested_kms_client(*args, **options)

        monkeypatch.setattr(kms_clients, "attested_kms_client", make_slowly)
        thread = threading.Thread(target=clients.caller, args=(CREDENTIALS, "eu-west-1"))
        thread.start()
        assert is_making.wait(5)
        assert clients.caller(CREDENTIALS, REGION) is ready
        may_go_on.set()
        thread.join()

    def test_threads_that_come_at_once_share_one(self, clients: KmsClients, made: list[KMSClient]) -> None:
        callers: list[object] = []
        start = threading.Barrier(6)

        def ask() -> None:
            start.wait()
            callers.append(clients.caller(CREDENTIALS, REGION))

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(map(id, callers))) == 1
        assert len(made) == 1
