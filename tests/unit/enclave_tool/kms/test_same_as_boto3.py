"""The server's own calls and the library's boto3 client send the same requests and handle responses alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError

from enclave_tool.errors import (
    RecipientError,
)
from enclave_tool.kms.client import attested_kms_client
from enclave_tool.kms.failures import kms_failure
from enclave_tool.kms.options import KmsOptions
from enclave_tool.kms.regional import Attempts
from enclave_tool.kms.regions import KmsRegions
from enclave_tool.recipient.attested_key import Recipient, RecipientKey
from tests.support.enclave.attested_calls import CREDENTIALS, REGION, sealing
from tests.support.enclave.scripted_nsm import ScriptedNsm
from tests.support.kms.canned_kms import Answer, CannedKms
from tests.support.kms.decrypting import decrypt_request
from vsock_wire.errors import ToolError
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.vocabulary import Operation

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

REQUEST = decrypt_request(b"c")
pytestmark = pytest.mark.usefixtures("no_pauses", "made")


class TestSameAsBoto3:
    """The server's own calls and the library's boto3 client send the same requests and handle responses alike."""

    @pytest.fixture(autouse=True)
    def _sealed(self, kms: CannedKms, recipient_key: RecipientKey) -> None:
        kms.answer = sealing(recipient_key, KeyId="arn:aws:kms:us-east-1:1:key/k", CiphertextBlob="Yw==")

    @pytest.fixture
    def library(self, kms: CannedKms, bundle: Path, recipient_key: RecipientKey) -> Iterator[KMSClient]:
        client = attested_kms_client(
            Recipient(ScriptedNsm(), key=recipient_key), region=REGION, credentials=CREDENTIALS,
            options=KmsOptions(proxy=kms.address, ca_file=bundle),
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
        self, regions: KmsRegions, kms: CannedKms, library: KMSClient, operation: str, parameters: dict[str, Any]
    ) -> None:
        ours = regions.caller(CREDENTIALS, REGION).call_kms(KmsRequest(Operation(operation), parameters), Attempts())
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
    def test_failures(self, regions: KmsRegions, kms: CannedKms, library: KMSClient, answer: Answer | None) -> None:
        kms.answer = lambda _: answer
        with pytest.raises(ToolError) as ours:
            regions.caller(CREDENTIALS, REGION).call_kms(REQUEST, Attempts())
        requests = len(kms.calls)
        with pytest.raises(Exception) as theirs:  # noqa: PT011 - any exception
            library.decrypt(CiphertextBlob=b"c")
        assert len(kms.calls) == 2 * requests
        expected = theirs.value
        if isinstance(expected, (BotoCoreError, ClientError)):
            expected = kms_failure(expected, kms.address)
        if isinstance(expected, ToolError):
            assert (type(ours.value), str(ours.value)) == (type(expected), str(expected))
        else:  # botocore's parser raises various types
            assert isinstance(ours.value, RecipientError)
