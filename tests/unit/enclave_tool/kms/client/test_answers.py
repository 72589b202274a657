from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import (
    ClientError,
    ParamValidationError,
)

from enclave_tool.errors import CmsError, RecipientError
from enclave_tool.kms.attested_operations import PLAINTEXT_FIELDS
from enclave_tool.recipient.attested_key import RecipientKey
from tests.support.enclave.attested_calls import (
    ATTESTED,
    PLAINTEXT,
    chain_text,
    encoded,
    sealing,
)
from tests.support.kms.ber_messages import seal
from tests.support.kms.canned_kms import Answer, CannedKms

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


class TestLeakingAnswers:
    @pytest.mark.parametrize("operation", sorted(ATTESTED))
    @pytest.mark.parametrize("is_sealed_too", [True, False])
    def test_plaintext_in_the_clear_is_refused_and_shown_nowhere(
        self, client: KMSClient, kms: CannedKms, recipient_key: RecipientKey, operation: str, *, is_sealed_too: bool
    ) -> None:
        field = PLAINTEXT_FIELDS[operation]
        leak: dict[str, Any] = {field: encoded(b"leaked plaintext"), "KeyId": "arn:key"}
        if is_sealed_too:
            leak["CiphertextForRecipient"] = encoded(seal(recipient_key, PLAINTEXT))
        kms.answer = lambda _: Answer(leak)
        with pytest.raises(RecipientError) as caught:
            ATTESTED[operation](client)
        assert (
            str(caught.value)
            == f"KMS {operation}: the response has {field} in the clear instead of CiphertextForRecipient"
        )
        shown = chain_text(caught.value)
        assert "leaked plaintext" not in shown
        assert encoded(b"leaked plaintext") not in shown

    @pytest.mark.parametrize("operation", sorted(ATTESTED))
    @pytest.mark.parametrize("fields", [{}, {"CiphertextForRecipient": ""}, {"CiphertextForRecipient": None}])
    def test_answer_with_neither_is_refused(
        self, client: KMSClient, kms: CannedKms, operation: str, fields: dict[str, object]
    ) -> None:
        kms.answer = lambda _: Answer({**fields, "KeyId": "arn:key"})
        with pytest.raises(RecipientError, match="the response has neither"):
            ATTESTED[operation](client)

    def test_empty_plaintext_next_to_the_sealed_one_is_not_a_leak(
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


def test_our_debug_log_shows_neither_plaintext_nor_credentials(
    client: KMSClient, kms: CannedKms, recipient_key: RecipientKey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "enclave_tool")
    kms.answer = sealing(recipient_key)
    client.decrypt(CiphertextBlob=b"c")
    shown = json.dumps([record.getMessage() for record in caplog.records if record.name.startswith("enclave_tool")])
    for secret in (PLAINTEXT.decode(), "theSecretAccessKey", "theSessionToken"):
        assert secret not in shown
