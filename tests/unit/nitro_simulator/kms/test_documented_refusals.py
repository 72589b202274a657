"""Each error that KMS documents for the project's operations can be produced, by a request or by a plan."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nitro_simulator.kms.keys.key import KeyState, KmsKey
from nitro_simulator.kms.request_model import kms_service_model
from tests.support.kms.world import Enclave, KmsWorld, code_and_text
from vsock_wire.protocol.json_codec import encode_base64
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS

Request = dict[str, Any]
SECRET = b"attack at dawn"
OPERATIONS = sorted(KMS_OPERATIONS)
PLANNED = {
    "CustomKeyStoreInvalidStateException",
    "DependencyTimeoutException",
    "KMSInternalException",
    "KeyUnavailableException",
    "ThrottlingException",
    "UnsupportedOperationException",
}
"""The simulator has neither load nor custom key stores, so a test plans these."""
COMMON = {"AccessDeniedException", "ThrottlingException", "ValidationException"}


def documented() -> list[tuple[str, str]]:
    model = kms_service_model()
    return [
        (operation, code)
        for operation in OPERATIONS
        for code in sorted({shape.name for shape in model.operation_model(operation).error_shapes} | COMMON)
    ]


class Setting:
    """A key for one operation, and a request that KMS carries out."""

    def __init__(self, world: KmsWorld, enclave: Enclave, operation: str) -> None:
        self.world, self.enclave, self.operation = world, enclave, operation
        spec = "ECC_NIST_P256" if operation == "DeriveSharedSecret" else "SYMMETRIC_DEFAULT"
        self.key = world.kms.create_key(spec=spec)
        self.request = self._good_request()

    def _good_request(self) -> Request:
        peer = ec.generate_private_key(ec.SECP256R1()).public_key()
        der = peer.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        key_id = {"KeyId": self.key.arn}
        by_operation: dict[str, Callable[[], Request]] = {
            "Decrypt": lambda: {"CiphertextBlob": encode_base64(self.key.seal(SECRET)), **key_id},
            "DeriveSharedSecret": lambda: {"KeyAgreementAlgorithm": "ECDH", "PublicKey": encode_base64(der), **key_id},
            "Encrypt": lambda: {"Plaintext": encode_base64(SECRET), **key_id},
            "GenerateDataKey": lambda: {"KeySpec": "AES_256", **key_id},
            "GenerateDataKeyPair": lambda: {"KeyPairSpec": "ECC_NIST_P256", **key_id},
            "GenerateRandom": lambda: {"NumberOfBytes": 8},
        }
        return by_operation[self.operation]()

    def refusal(self, **changes: object) -> tuple[str, str | None]:
        fault = self.world.fault(self.operation, **{**self.request, **changes})
        return fault.code, fault.message


def _access_denied(setting: Setting) -> tuple[str, str | None]:
    deny = '{"Statement": {"Effect": "Deny", "Action": "kms:*", "Resource": "*"}}'
    setting.world.kms.policies.put_service_control_policy(deny)
    return setting.refusal()


def _in_state(state: KeyState) -> Callable[[Setting], tuple[str, str | None]]:
    def refuse(setting: Setting) -> tuple[str, str | None]:
        setting.key.state = state
        return setting.refusal()

    return refuse


def _other_key(setting: Setting, **options: Any) -> KmsKey:
    return setting.world.kms.create_key(**options)


def _forged_document_or_long_input(setting: Setting) -> tuple[str, str | None]:
    if setting.operation == "Encrypt":
        return setting.refusal(Plaintext=encode_base64(bytes(5_000)))
    return setting.refusal(Recipient=setting.enclave.recipient_json() | {"AttestationDocument": "AAAA"})


CAUSES: dict[str, Callable[[Setting], tuple[str, str | None]]] = {
    "AccessDeniedException": _access_denied,
    "CustomKeyStoreNotFoundException": lambda setting: setting.refusal(CustomKeyStoreId="cks-1"),
    "DisabledException": _in_state(KeyState.DISABLED),
    "DryRunOperationException": lambda setting: setting.refusal(DryRun=True),
    "IncorrectKeyException": lambda setting: setting.refusal(KeyId=_other_key(setting).arn),
    "InvalidCiphertextException": lambda setting: setting.refusal(EncryptionContext={"a": "b"}),
    "InvalidGrantTokenException": lambda setting: setting.refusal(GrantTokens=["t"]),
    "InvalidKeyUsageException": lambda setting: setting.refusal(
        KeyId=_other_key(setting, spec="RSA_2048", usage="SIGN_VERIFY").arn
    ),
    "KMSInvalidStateException": _in_state(KeyState.PENDING_DELETION),
    "NotFoundException": lambda setting: setting.refusal(KeyId="alias/nobody"),
    "ValidationException": _forged_document_or_long_input,
}
"""What a request or a setting must be like, by the error."""


@pytest.mark.parametrize(("operation", "code"), documented())
def test_documented_error_can_be_produced(world: KmsWorld, enclave: Enclave, operation: str, code: str) -> None:
    setting = Setting(world, enclave, operation)
    world.call(operation, **setting.request)
    if code in PLANNED:
        world.kms.fail(code, operation=operation)
        found = setting.refusal()
    else:
        found = CAUSES[code](setting)
    assert found[0] == code, found
    assert world.kms.journal.entries()[-1].verdict == code


def test_there_is_a_cause_for_every_error_and_no_other() -> None:
    codes = {code for _, code in documented()}
    assert codes == CAUSES.keys() | PLANNED
    assert not CAUSES.keys() & PLANNED


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, ("InvalidCiphertextException", None)),
        ({"EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}, ("ValidationException", "KeyId: required")),
        ({"KeyId": "own"}, ("InvalidKeyUsageException", "Algorithm SYMMETRIC_DEFAULT and key spec RSA_2048")),
        (
            {"KeyId": "own", "EncryptionAlgorithm": "RSAES_OAEP_SHA_1"},
            ("InvalidCiphertextException", None),
        ),
        (
            {"KeyId": "other", "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"},
            ("InvalidCiphertextException", None),
        ),
    ],
)
def test_ciphertext_of_an_asymmetric_key_names_neither_key_nor_algorithm(
    world: KmsWorld, request_: Request, expected: tuple[str, str | None]
) -> None:
    keys = {name: world.kms.create_key(spec="RSA_2048") for name in ("own", "other")}
    blob = encode_base64(keys["own"].seal(SECRET, algorithm="RSAES_OAEP_SHA_256"))
    right = {"KeyId": keys["own"].arn, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    assert world.call("Decrypt", CiphertextBlob=blob, **right)["Plaintext"] == encode_base64(SECRET)
    request = {name: keys[value].arn if name == "KeyId" else value for name, value in request_.items()}
    code, text = code_and_text(world.fault("Decrypt", CiphertextBlob=blob, **request))
    assert (code, (text or "")[: len(expected[1] or "")] or None) == expected


def test_error_of_a_replaced_key_follows_its_deletion(world: KmsWorld, enclave: Enclave) -> None:
    """A key that is gone is as one that never was."""
    setting = Setting(world, enclave, "Decrypt")
    setting.key.deletion_at = world.clock() + timedelta(days=7)
    world.clock.advance(7 * 86_400)
    assert setting.refusal() == ("NotFoundException", f"Key '{setting.key.arn}' does not exist")
    del setting.request["KeyId"]
    assert setting.refusal()[0] == "AccessDeniedException"
