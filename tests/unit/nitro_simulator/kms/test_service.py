"""The KMS as a whole: unknown requests, its journal, and responses rewritten to test clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from nitro_simulator.kms.journal import OK
from tests.support.kms.world import (
    MODULE_ID,
    PCR0,
    ROLE,
    SESSION_ARN,
    Enclave,
    KmsWorld,
    RawClient,
    attested_policy,
    code_and_text,
)
from vsock_wire.protocol.json_codec import encode_base64

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

SECRET = b"attack at dawn"
CONTEXT = {"purpose": "test", "tenant": "7"}


def test_unknown_operation_is_refused_without_text(world: KmsWorld) -> None:
    for operation in ("TagResource", "", "decrypt"):
        assert code_and_text(world.fault(operation, ROLE)) == ("UnknownOperationException", None)


def test_bad_document_is_refused_and_nothing_is_answered_in_plaintext(world: KmsWorld, enclave: Enclave) -> None:
    key = world.kms.create_key()
    recipient = enclave.recipient_json() | {"AttestationDocument": encode_base64(b"forged")}

    fault = world.fault("Decrypt", CiphertextBlob=encode_base64(key.seal(SECRET)), Recipient=recipient)

    assert fault.code == "ValidationException"


def test_journal_records_everything_but_the_secret(kms_client: KMSClient, world: KmsWorld, enclave: Enclave) -> None:
    key = world.kms.create_key(policy=attested_policy())
    blob = key.seal(SECRET, encryption_context=CONTEXT)
    answer = kms_client.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT, Recipient=enclave.recipient())
    with pytest.raises(ClientError):
        kms_client.decrypt(CiphertextBlob=blob)

    allowed, denied = world.kms.journal.entries()

    assert (allowed.operation, allowed.verdict, allowed.key_arn) == ("Decrypt", OK, key.arn)
    assert (allowed.caller_arn, allowed.time) == (SESSION_ARN, world.clock())
    assert (allowed.has_document, allowed.module_id, allowed.pcr0) == (True, MODULE_ID, PCR0)
    assert allowed.context_names == ("purpose", "tenant")
    assert allowed.answered_bytes == {"CiphertextForRecipient": len(answer["CiphertextForRecipient"])}
    assert (denied.verdict, denied.has_document, denied.pcr0) == ("AccessDeniedException", False, None)
    assert (denied.key_arn, denied.answered_bytes) == (key.arn, {})
    assert f"ImageSha384: expected {PCR0}, got no such key in the request" in denied.reason
    assert SECRET.decode() not in repr([allowed, denied])


def test_journal_shortens_a_strange_operation_to_fit_a_line(raw_client: RawClient, world: KmsWorld) -> None:
    raw_client.send(b"{}", target="x" * 500)

    (entry,) = world.kms.journal.entries()
    assert entry.operation == "x" * 64


def test_answer_can_be_rewritten_for_tests_of_clients(kms_client: KMSClient, world: KmsWorld, enclave: Enclave) -> None:
    blob = world.kms.create_key().seal(SECRET)
    world.kms.rewrite_answer = lambda operation, answer: answer | {"Plaintext": "AAAA", "KeyId": operation}

    answer = kms_client.decrypt(CiphertextBlob=blob, Recipient=enclave.recipient())

    assert (answer["Plaintext"], answer["KeyId"]) == (b"\0\0\0", "Decrypt")
