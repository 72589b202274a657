from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest

from enclave_tool.errors import NsmError
from enclave_tool.kms.attested_operations import PLAINTEXT_FIELDS
from enclave_tool.recipient.attested_key import RecipientKey
from tests.support.enclave.attested_calls import (
    ATTESTED,
    PLAINTEXT,
    REGION,
    UNATTESTED,
    encoded,
    sealing,
)
from tests.support.enclave.scripted_nsm import ScriptedNsm
from tests.support.kms.ber_messages import SHAPES, Shape, seal
from tests.support.kms.canned_kms import Answer, Call, CannedKms

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


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
    def test_puts_the_plaintext_into_boto3s_field(
        self, client: KMSClient, kms: CannedKms, recipient_key: RecipientKey, operation: str
    ) -> None:
        kms.answer = sealing(recipient_key, CiphertextBlob=encoded(b"blob"))
        answer = ATTESTED[operation](client)
        assert answer[PLAINTEXT_FIELDS[operation]] == PLAINTEXT
        assert "CiphertextForRecipient" not in answer
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200

    def test_are_exactly_those_of_botocores_model(self) -> None:
        model = boto3.client("kms", region_name=REGION).meta.service_model
        with_recipient = {
            name
            for name in model.operation_names
            if "Recipient" in getattr(model.operation_model(name).input_shape, "members", {})
        }
        assert set(PLAINTEXT_FIELDS) == with_recipient == set(ATTESTED)
        for name, field in PLAINTEXT_FIELDS.items():
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

    def test_sends_all_parameters(self, client: KMSClient, kms: CannedKms, recipient_key: RecipientKey) -> None:
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

    def test_failing_module_prevents_the_call(
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
    def test_sends_no_recipient_and_leaves_the_response_unchanged(
        self, client: KMSClient, kms: CannedKms, scripted_nsm: ScriptedNsm, operation: str
    ) -> None:
        kms.answer = lambda _: Answer({"KeyId": "arn:key", "CiphertextBlob": encoded(b"blob")})
        UNATTESTED[operation](client)
        assert kms.calls[0].operation == operation
        assert "Recipient" not in kms.calls[0].fields
        assert scripted_nsm.carrier.requests == []
