from __future__ import annotations

from typing import Any

import pytest

from nitro_simulator.errors import KmsFault
from nitro_simulator.kms.operations.table import OPERATIONS
from nitro_simulator.kms.recipient import SECRET_FIELDS
from nitro_simulator.kms.request_model import kms_service_model, parse_request

BLOB = "AAAA"


def _fault(operation: str, request: object) -> tuple[str, str]:
    with pytest.raises(KmsFault) as fault:
        parse_request(operation, request)
    assert fault.value.http_status == 400
    return fault.value.code, fault.value.message or ""


def test_exactly_the_operations_in_the_aws_model_accept_a_recipient() -> None:
    model = kms_service_model()
    with_recipient = {
        name
        for name in model.operation_names
        if (shape := model.operation_model(name).input_shape) is not None and "Recipient" in shape.members
    }

    assert with_recipient == set(SECRET_FIELDS)
    for name, field in SECRET_FIELDS.items():
        output = model.operation_model(name).output_shape
        assert output is not None
        assert {field, "CiphertextForRecipient"} <= set(output.members)


def test_every_operation_of_the_simulator_is_in_the_aws_model() -> None:
    assert set(OPERATIONS) <= set(kms_service_model().operation_names)


def test_request_is_read_with_blobs_as_bytes_and_without_nulls() -> None:
    request = {
        "CiphertextBlob": BLOB,
        "EncryptionContext": {"a": "1"},
        "KeyId": None,
        "GrantTokens": ["t"],
        "DryRun": False,
        "Recipient": {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": BLOB},
    }

    assert parse_request("Decrypt", request) == {
        "CiphertextBlob": b"\0\0\0",
        "EncryptionContext": {"a": "1"},
        "GrantTokens": ["t"],
        "DryRun": False,
        "Recipient": {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": b"\0\0\0"},
    }


@pytest.mark.parametrize(
    ("operation", "request_", "constraint"),
    [
        ("Decrypt", {}, "Value null at 'ciphertextBlob': not be null"),
        ("Encrypt", {"Plaintext": BLOB}, "Value null at 'keyId': not be null"),
        (
            "Encrypt",
            {"KeyId": "k", "Plaintext": "A" * 5464},
            "Value at 'plaintext': have length less than or equal to 4096",
        ),
        (
            "Decrypt",
            {"CiphertextBlob": "A" * 8196},
            "Value at 'ciphertextBlob': have length less than or equal to 6144",
        ),
        (
            "Decrypt",
            {"CiphertextBlob": ""},
            "Value at 'ciphertextBlob': have length greater than or equal to 1",
        ),
        (
            "Decrypt",
            {"CiphertextBlob": BLOB, "Recipient": {"AttestationDocument": "A" * 349_528}},
            "Value at 'recipient.attestationDocument': have length less than or equal to 262144",
        ),
        (
            "Decrypt",
            {"CiphertextBlob": BLOB, "GrantTokens": ["t"] * 11},
            "Value at 'grantTokens': have length less than or equal to 10",
        ),
        (
            "GenerateRandom",
            {"NumberOfBytes": 1025},
            "Value '1025' at 'numberOfBytes': have value less than or equal to 1024",
        ),
        (
            "GenerateRandom",
            {"NumberOfBytes": 0},
            "Value '0' at 'numberOfBytes': have value greater than or equal to 1",
        ),
        (
            "GenerateDataKey",
            {"KeyId": "k", "KeySpec": "AES_512"},
            "Value 'AES_512' at 'keySpec': satisfy enum value set: [AES_256, AES_128]",
        ),
        (
            "CreateAlias",
            {"AliasName": "alias/a b", "TargetKeyId": "k"},
            "Value 'alias/a b' at 'aliasName': satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$",
        ),
    ],
)
def test_broken_constraint_is_refused_in_the_words_of_aws(
    operation: str, request_: dict[str, Any], constraint: str
) -> None:
    text = constraint.replace("': ", "' failed to satisfy constraint: Member must ", 1)

    assert _fault(operation, request_) == ("ValidationException", f"1 validation error detected: {text}")


@pytest.mark.parametrize(
    ("operation", "request_", "member"),
    [
        ("Decrypt", {"CiphertextBlob": 7}, "ciphertextBlob"),
        ("Decrypt", {"CiphertextBlob": "not base64"}, "ciphertextBlob"),
        ("Decrypt", {"CiphertextBlob": BLOB, "EncryptionContext": ["a"]}, "encryptionContext"),
        ("Decrypt", {"CiphertextBlob": BLOB, "EncryptionContext": {"a": 1}}, "encryptionContext.value"),
        ("Decrypt", {"CiphertextBlob": BLOB, "GrantTokens": "t"}, "grantTokens"),
        ("Decrypt", {"CiphertextBlob": BLOB, "GrantTokens": [1]}, "grantTokens.1.member"),
        ("Decrypt", {"CiphertextBlob": BLOB, "Recipient": "x"}, "recipient"),
        ("Decrypt", {"CiphertextBlob": BLOB, "DryRun": "yes"}, "dryRun"),
        ("GenerateRandom", {"NumberOfBytes": "7"}, "numberOfBytes"),
        ("GenerateRandom", {"NumberOfBytes": True}, "numberOfBytes"),
        ("GenerateRandom", [], ""),
    ],
)
def test_wrong_type_is_a_serialization_fault_naming_the_member(operation: str, request_: object, member: str) -> None:
    code, message = _fault(operation, request_)

    assert code == "SerializationException"
    assert message.startswith((f"'{member}': expected ", f"'{member}': not standard base64 with padding"))


@pytest.mark.parametrize("operation", ["Encrypt", "ReEncrypt", "GenerateDataKeyWithoutPlaintext", "DescribeKey"])
def test_recipient_sent_to_another_operation_is_refused(operation: str) -> None:
    code, message = _fault(operation, {"Recipient": {"AttestationDocument": BLOB}})

    assert (code, message) == ("ValidationException", '"recipient" is not a parameter of this operation')
