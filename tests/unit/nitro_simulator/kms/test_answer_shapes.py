"""Every response has the members, types, sizes and values that botocore's model of the KMS API allows."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nitro_simulator.kms.operations.table import OPERATIONS
from nitro_simulator.kms.request_model import kms_service_model
from tests.support.kms.world import ROLE, ROLE_ARN, Enclave, KmsWorld
from vsock_wire.protocol.json_codec import encode_base64

MESSAGE = encode_base64(b"attack at dawn")


def problems(shape: Shape | None, value: Any, path: str) -> list[str]:
    """Return what is wrong with a value in JSON, by its path."""
    if shape is None:
        return [] if value == {} else [f"{path}: expected nothing"]
    if isinstance(shape, StructureShape):
        unknown = [f"{path}.{name}: unknown" for name in value.keys() - shape.members.keys()]
        missing = [f"{path}.{name}: missing" for name in set(shape.required_members) - value.keys()]
        known = [
            text
            for name in value.keys() & shape.members.keys()
            for text in problems(shape.members[name], value[name], f"{path}.{name}")
        ]
        return unknown + missing + known
    if isinstance(shape, ListShape):
        return [text for item in value for text in problems(shape.member, item, f"{path}[]")]
    if isinstance(shape, MapShape):
        return [text for item in value.values() for text in problems(shape.value, item, f"{path}{{}}")]
    return _scalar_problems(shape, value, path)


def _scalar_problems(shape: Shape, value: Any, path: str) -> list[str]:
    kinds: dict[str, Any] = {"string": str, "blob": str, "boolean": bool, "integer": int, "timestamp": (int, float)}
    if not isinstance(value, kinds[shape.type_name]):
        return [f"{path}: {type(value).__name__}"]
    size = len(b64decode(value, validate=True)) if shape.type_name == "blob" else len(str(value))
    metadata = shape.metadata
    found = [f"{path}: {value}"] if "enum" in metadata and value not in metadata["enum"] else []
    if shape.type_name in ("string", "blob") and not metadata.get("min", 0) <= size <= metadata.get("max", size):
        found.append(f"{path}: {size} long")
    return found


def ask(world: KmsWorld, operation: str, **request: object) -> dict[str, Any]:
    """Call KMS, and compare what it answers with the model."""
    answer = world.call(operation, **request)
    assert problems(kms_service_model().operation_model(operation).output_shape, answer, operation) == []
    return answer


def _new_key(world: KmsWorld, **options: Any) -> str:
    key_id = ask(world, "CreateKey", **options)["KeyMetadata"]["KeyId"]
    assert isinstance(key_id, str)
    return key_id


def _encryption(world: KmsWorld, recipient: dict[str, Any]) -> None:
    key_id = _new_key(world)
    blob = ask(world, "Encrypt", KeyId=key_id, Plaintext=MESSAGE)["CiphertextBlob"]
    blob = ask(world, "ReEncrypt", CiphertextBlob=blob, DestinationKeyId=key_id)["CiphertextBlob"]
    ask(world, "GenerateDataKeyWithoutPlaintext", KeyId=key_id)
    for more in ({}, recipient):
        ask(world, "Decrypt", CiphertextBlob=blob, **more)
        ask(world, "GenerateDataKey", KeyId=key_id, KeySpec="AES_256", **more)
        ask(world, "GenerateDataKeyPair", KeyId=key_id, KeyPairSpec="RSA_4096", **more)
        ask(world, "GenerateRandom", NumberOfBytes=1024, **more)


def _management(world: KmsWorld) -> None:
    world.kms.add_region("eu-west-1")
    key_id = _new_key(world, MultiRegion=True)
    ask(world, "CreateAlias", AliasName="alias/a", TargetKeyId=key_id)
    ask(world, "DescribeKey", KeyId="alias/a")
    ask(world, "ReplicateKey", KeyId=key_id, ReplicaRegion="eu-west-1")
    ask(world, "ListKeys", Limit=1)
    text = ask(world, "GetKeyPolicy", KeyId=key_id)["Policy"]
    ask(world, "PutKeyPolicy", KeyId=key_id, Policy=text)
    ask(world, "DisableKey", KeyId=key_id)
    ask(world, "EnableKey", KeyId=key_id)
    single = _new_key(world)
    ask(world, "ScheduleKeyDeletion", KeyId=single)
    ask(world, "DescribeKey", KeyId=single)
    ask(world, "CancelKeyDeletion", KeyId=single)


def _grants(world: KmsWorld) -> None:
    key_id = _new_key(world)
    request = {"KeyId": key_id, "GranteePrincipal": ROLE_ARN, "RetiringPrincipal": ROLE_ARN, "Operations": ["Decrypt"]}
    constraint = {"Constraints": {"EncryptionContextSubset": {"a": "b"}}}
    token = ask(world, "CreateGrant", **request, **constraint, Name="n")["GrantToken"]
    grant_id = ask(world, "CreateGrant", **request)["GrantId"]
    ask(world, "ListGrants", KeyId=key_id, Limit=1)
    ask(world, "ListRetirableGrants", RetiringPrincipal=ROLE_ARN)
    ask(world, "RetireGrant", GrantToken=token)
    ask(world, "RevokeGrant", KeyId=key_id, GrantId=grant_id)


def _asymmetric(world: KmsWorld, recipient: dict[str, Any]) -> None:
    signing = _new_key(world, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    request = {"KeyId": signing, "Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256"}
    ask(world, "Verify", **request, Signature=ask(world, "Sign", **request)["Signature"])
    ask(world, "GetPublicKey", KeyId=signing)
    agreeing = _new_key(world, KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")
    ask(world, "GetPublicKey", KeyId=agreeing)
    peer = ec.generate_private_key(ec.SECP256R1()).public_key()
    der = peer.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    request = {"KeyId": agreeing, "KeyAgreementAlgorithm": "ECDH", "PublicKey": encode_base64(der)}
    for more in ({}, recipient):
        ask(world, "DeriveSharedSecret", **request, **more)
    ask(world, "GetPublicKey", KeyId=_new_key(world, KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT"))


def test_every_operation_answers_as_the_model_says(world: KmsWorld, enclave: Enclave) -> None:
    recipient = {"Recipient": enclave.recipient_json()}
    _encryption(world, recipient)
    _management(world)
    _grants(world)
    _asymmetric(world, recipient)
    assert {entry.operation for entry in world.kms.journal.entries()} == set(OPERATIONS)


@pytest.mark.parametrize(
    ("operation", "answer", "found"),
    [
        ("Encrypt", {"KeyId": ROLE, "More": 1}, ["Encrypt.More: unknown"]),
        ("Encrypt", {"KeyId": ""}, ["Encrypt.KeyId: 0 long"]),
        ("Encrypt", {"EncryptionAlgorithm": "ROT13"}, ["Encrypt.EncryptionAlgorithm: ROT13"]),
        (
            "DescribeKey",
            {"KeyMetadata": {"Enabled": "yes"}},
            ["DescribeKey.KeyMetadata.KeyId: missing", "DescribeKey.KeyMetadata.Enabled: str"],
        ),
        ("EnableKey", {"KeyId": "k"}, ["EnableKey: expected nothing"]),
    ],
)
def test_answer_that_the_model_does_not_allow_is_found(
    operation: str, answer: dict[str, Any], found: list[str]
) -> None:
    shape = kms_service_model().operation_model(operation).output_shape
    assert problems(shape, answer, operation) == found
