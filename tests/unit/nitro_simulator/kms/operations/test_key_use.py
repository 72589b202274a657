from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nitro_simulator.identities import Identities
from nitro_simulator.kms.service import SimulatedKms
from tests.support.kms.world import (
    Enclave,
    KmsWorld,
    allow,
    attested_policy,
    code_and_text,
    denied_text,
    deny,
    policy,
)
from vsock_wire.protocol.json_codec import encode_base64

if TYPE_CHECKING:
    pass

SECRET = b"attack at dawn"
UNKNOWN_CIPHERTEXT = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
    "or you are not allowed to access."
)


# The order of Decrypt's checks, and what it cannot decrypt


def test_bytes_that_do_not_name_a_key_are_an_invalid_ciphertext_without_text(world: KmsWorld) -> None:
    assert code_and_text(world.fault("Decrypt", CiphertextBlob=encode_base64(b"x" * 200))) == (
        "InvalidCiphertextException",
        None,
    )


def test_blob_of_an_unknown_key_is_denied_in_the_words_of_kms(world: KmsWorld, enclave: Enclave) -> None:
    elsewhere = SimulatedKms(
        attestation_root_sha256=world.authority.root_sha256, identities=Identities(), region="eu-west-1"
    )
    blob = encode_base64(elsewhere.create_key().seal(SECRET))

    assert code_and_text(world.fault("Decrypt", CiphertextBlob=blob)) == ("AccessDeniedException", UNKNOWN_CIPHERTEXT)
    assert code_and_text(world.fault("Decrypt", CiphertextBlob=blob, Recipient=enclave.recipient_json())) == (
        "AccessDeniedException",
        UNKNOWN_CIPHERTEXT,
    )


@pytest.mark.parametrize("context", [{}, {"tenant": "8"}, {"Tenant": "7"}, {"tenant": "7", "more": "1"}])
def test_wrong_context_is_an_invalid_ciphertext_without_text(world: KmsWorld, context: dict[str, str]) -> None:
    key = world.kms.create_key()
    blob = encode_base64(key.seal(SECRET, encryption_context={"tenant": "7"}))

    assert code_and_text(world.fault("Decrypt", CiphertextBlob=blob, EncryptionContext=context)) == (
        "InvalidCiphertextException",
        None,
    )


def test_named_key_must_be_that_of_the_blob(world: KmsWorld) -> None:
    key, other = world.kms.create_key(alias="alias/mine"), world.kms.create_key()
    blob = encode_base64(key.seal(SECRET))

    assert world.call("Decrypt", CiphertextBlob=blob, KeyId="alias/mine")["KeyId"] == key.arn
    fault = world.fault("Decrypt", CiphertextBlob=blob, KeyId=other.key_id)
    assert code_and_text(fault) == (
        "IncorrectKeyException",
        "The key ID in the request does not identify a CMK that can perform this operation.",
    )


def test_named_key_that_does_not_exist_is_not_found(world: KmsWorld) -> None:
    blob = encode_base64(world.kms.create_key().seal(SECRET))

    assert world.fault("Decrypt", CiphertextBlob=blob, KeyId="alias/none").code == "NotFoundException"


def test_largest_blob_opens_and_one_byte_more_is_refused(world: KmsWorld, enclave: Enclave) -> None:
    key = world.kms.create_key()
    plaintext = b"p" * 4096

    answer = world.call(
        "Decrypt",
        CiphertextBlob=encode_base64(key.seal(plaintext, blob_bytes=6144)),
        Recipient=enclave.recipient_json(),
    )

    assert enclave.open(b64decode(answer["CiphertextForRecipient"])) == plaintext
    assert len(b64decode(answer["CiphertextForRecipient"])) <= 6144
    fault = world.fault("Decrypt", CiphertextBlob=encode_base64(key.seal(plaintext, blob_bytes=6145)))
    assert fault.code == "ValidationException"


# Encrypt and ReEncrypt


def test_encrypt_and_decrypt_round_trip_with_context(world: KmsWorld) -> None:
    key = world.kms.create_key(alias="alias/mine")
    context = {"b": "2", "a": "1"}

    blob = world.call("Encrypt", KeyId="alias/mine", Plaintext=encode_base64(SECRET), EncryptionContext=context)
    assert blob["KeyId"] == key.arn
    answer = world.call("Decrypt", CiphertextBlob=blob["CiphertextBlob"], EncryptionContext={"a": "1", "b": "2"})
    assert b64decode(answer["Plaintext"]) == SECRET


def test_encrypt_checks_the_policy(world: KmsWorld) -> None:
    key = world.kms.create_key(policy=policy(deny("kms:Encrypt")))

    fault = world.fault("Encrypt", KeyId=key.arn, Plaintext=encode_base64(SECRET))

    assert code_and_text(fault) == ("AccessDeniedException", denied_text(key, "kms:Encrypt", explicitly=True))


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"])
def test_rsa_key_round_trip_needs_the_key_id(world: KmsWorld, enclave: Enclave, algorithm: str) -> None:
    key = world.kms.create_key(spec="RSA_2048")
    sealed = world.call("Encrypt", KeyId=key.arn, Plaintext=encode_base64(SECRET), EncryptionAlgorithm=algorithm)
    request = {"CiphertextBlob": sealed["CiphertextBlob"], "EncryptionAlgorithm": algorithm}

    answer = world.call("Decrypt", KeyId=key.arn, Recipient=enclave.recipient_json(), **request)

    assert enclave.open(b64decode(answer["CiphertextForRecipient"])) == SECRET
    assert answer["EncryptionAlgorithm"] == algorithm
    assert world.fault("Decrypt", **request).code == "ValidationException"
    broken = world.fault(
        "Decrypt", KeyId=key.arn, CiphertextBlob=encode_base64(b"x" * 256), EncryptionAlgorithm=algorithm
    )
    assert code_and_text(broken) == ("InvalidCiphertextException", None)


def test_rsa_key_refuses_context_long_plaintext_and_the_symmetric_algorithm(world: KmsWorld) -> None:
    key = world.kms.create_key(spec="RSA_2048")
    oaep = {"KeyId": key.arn, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}

    assert world.call("Encrypt", Plaintext=encode_base64(b"x" * 190), **oaep)
    assert world.fault("Encrypt", Plaintext=encode_base64(b"x" * 191), **oaep).code == "ValidationException"
    with_context = world.fault("Encrypt", Plaintext=encode_base64(b"x"), EncryptionContext={"a": "1"}, **oaep)
    assert with_context.code == "ValidationException"
    assert code_and_text(world.fault("Encrypt", Plaintext=encode_base64(b"x"), KeyId=key.arn)) == (
        "InvalidKeyUsageException",
        "Algorithm SYMMETRIC_DEFAULT and key spec RSA_2048 are incompatible with each other.",
    )


def test_re_encrypt_moves_a_blob_to_another_key_and_context(world: KmsWorld) -> None:
    source, destination = world.kms.create_key(), world.kms.create_key()

    answer = world.call(
        "ReEncrypt",
        CiphertextBlob=encode_base64(source.seal(SECRET, encryption_context={"a": "1"})),
        SourceEncryptionContext={"a": "1"},
        DestinationKeyId=destination.key_id,
        DestinationEncryptionContext={"b": "2"},
    )

    assert (answer["SourceKeyId"], answer["KeyId"]) == (source.arn, destination.arn)
    assert "Plaintext" not in answer
    opened = world.call("Decrypt", CiphertextBlob=answer["CiphertextBlob"], EncryptionContext={"b": "2"})
    assert b64decode(opened["Plaintext"]) == SECRET


@pytest.mark.parametrize(("denied", "of_source"), [("kms:ReEncryptFrom", True), ("kms:ReEncryptTo", False)])
def test_re_encrypt_checks_both_policies(world: KmsWorld, denied: str, of_source: bool) -> None:
    everything = allow("kms:*")
    source = world.kms.create_key(policy=policy(everything, *([deny(denied)] if of_source else [])))
    destination = world.kms.create_key(policy=policy(everything, *([] if of_source else [deny(denied)])))

    fault = world.fault(
        "ReEncrypt", CiphertextBlob=encode_base64(source.seal(SECRET)), DestinationKeyId=destination.arn
    )

    assert code_and_text(fault) == (
        "AccessDeniedException",
        denied_text(source if of_source else destination, denied, explicitly=True),
    )


# Data keys, random bytes, shared secrets


@pytest.mark.parametrize(
    ("request_", "size"), [({"KeySpec": "AES_128"}, 16), ({"KeySpec": "AES_256"}, 32), ({"NumberOfBytes": 64}, 64)]
)
def test_data_key_is_returned_in_plaintext_and_encrypted(world: KmsWorld, request_: dict[str, Any], size: int) -> None:
    key = world.kms.create_key()

    answer = world.call("GenerateDataKey", KeyId=key.arn, EncryptionContext={"a": "1"}, **request_)

    assert len(b64decode(answer["Plaintext"])) == size
    opened = world.call("Decrypt", CiphertextBlob=answer["CiphertextBlob"], EncryptionContext={"a": "1"})
    assert opened["Plaintext"] == answer["Plaintext"]


def test_data_key_for_recipient_is_encrypted_twice_and_never_shown(world: KmsWorld, enclave: Enclave) -> None:
    key = world.kms.create_key(policy=attested_policy())

    answer = world.call("GenerateDataKey", KeyId=key.arn, KeySpec="AES_256", Recipient=enclave.recipient_json())

    assert set(answer) == {"CiphertextBlob", "CiphertextForRecipient", "KeyId"}
    opened = world.call("Decrypt", CiphertextBlob=answer["CiphertextBlob"], Recipient=enclave.recipient_json())
    first, second = (enclave.open(b64decode(each["CiphertextForRecipient"])) for each in (answer, opened))
    assert first == second
    fault = world.fault("GenerateDataKey", KeyId=key.arn, KeySpec="AES_256")
    assert code_and_text(fault) == ("AccessDeniedException", denied_text(key, "kms:GenerateDataKey"))


@pytest.mark.parametrize("request_", [{}, {"KeySpec": "AES_256", "NumberOfBytes": 32}])
def test_data_key_needs_exactly_one_size(world: KmsWorld, request_: dict[str, Any]) -> None:
    key = world.kms.create_key()

    fault = world.fault("GenerateDataKey", KeyId=key.arn, **request_)

    assert code_and_text(fault) == ("ValidationException", "Please specify either number of bytes or key spec.")


@pytest.mark.parametrize(("request_", "size"), [({}, 32), ({"NumberOfBytes": 8}, 8)])
def test_data_key_without_plaintext_is_returned_only_encrypted(
    world: KmsWorld, request_: dict[str, Any], size: int
) -> None:
    key = world.kms.create_key()

    answer = world.call("GenerateDataKeyWithoutPlaintext", KeyId=key.arn, **request_)

    assert set(answer) == {"CiphertextBlob", "KeyId"}
    opened = world.call("Decrypt", CiphertextBlob=answer["CiphertextBlob"])
    assert len(b64decode(opened["Plaintext"])) == size


@pytest.mark.parametrize(
    "spec", ["RSA_2048", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519"]
)
def test_data_key_pair_for_recipient_fits_together(world: KmsWorld, enclave: Enclave, spec: str) -> None:
    key = world.kms.create_key()

    answer = world.call("GenerateDataKeyPair", KeyId=key.arn, KeyPairSpec=spec, Recipient=enclave.recipient_json())

    assert set(answer) == {"PrivateKeyCiphertextBlob", "CiphertextForRecipient", "PublicKey", "KeyId", "KeyPairSpec"}
    private_key_der = enclave.open(b64decode(answer["CiphertextForRecipient"]))
    private_key = serialization.load_der_private_key(private_key_der, None)
    public_key_der = private_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert public_key_der == b64decode(answer["PublicKey"])
    opened = world.call("Decrypt", CiphertextBlob=answer["PrivateKeyCiphertextBlob"])
    assert b64decode(opened["Plaintext"]) == private_key_der


def test_largest_data_key_pair_for_recipient_stays_within_the_limit(world: KmsWorld, enclave: Enclave) -> None:
    key = world.kms.create_key()

    answer = world.call(
        "GenerateDataKeyPair", KeyId=key.arn, KeyPairSpec="RSA_4096", Recipient=enclave.recipient_json()
    )

    assert len(b64decode(answer["CiphertextForRecipient"])) <= 6144
    assert len(b64decode(answer["PrivateKeyCiphertextBlob"])) <= 6144


def test_data_key_pair_without_recipient_shows_the_private_key(world: KmsWorld) -> None:
    key = world.kms.create_key()

    answer = world.call("GenerateDataKeyPair", KeyId=key.arn, KeyPairSpec="ECC_NIST_P256")

    serialization.load_der_private_key(b64decode(answer["PrivateKeyPlaintext"]), None)


def test_data_key_pair_of_an_unsupported_kind_is_refused(world: KmsWorld) -> None:
    fault = world.fault("GenerateDataKeyPair", KeyId=world.kms.create_key().arn, KeyPairSpec="SM2")

    assert fault.code == "UnsupportedOperationException"


@pytest.mark.parametrize("operation", ["GenerateDataKey", "GenerateDataKeyPair"])
def test_data_keys_need_a_symmetric_key(world: KmsWorld, operation: str) -> None:
    size = {"KeySpec": "AES_256"} if operation == "GenerateDataKey" else {"KeyPairSpec": "RSA_2048"}
    for spec in ("RSA_2048", "ECC_NIST_P256"):
        fault = world.fault(operation, KeyId=world.kms.create_key(spec=spec).arn, **size)
        assert fault.code == "InvalidKeyUsageException"


@pytest.mark.parametrize("size", [1, 1024])
def test_random_bytes_are_returned_in_plaintext_or_for_the_recipient(
    world: KmsWorld, enclave: Enclave, size: int
) -> None:
    plain = world.call("GenerateRandom", NumberOfBytes=size)
    sealed = world.call("GenerateRandom", NumberOfBytes=size, Recipient=enclave.recipient_json())

    assert (set(plain), set(sealed)) == ({"Plaintext"}, {"CiphertextForRecipient"})
    assert len(b64decode(plain["Plaintext"])) == size
    assert len(enclave.open(b64decode(sealed["CiphertextForRecipient"]))) == size


def test_random_bytes_need_a_size_and_no_key_store(world: KmsWorld) -> None:
    assert world.fault("GenerateRandom").code == "ValidationException"
    fault = world.fault("GenerateRandom", NumberOfBytes=1, CustomKeyStoreId="cks-1")
    assert fault.code == "CustomKeyStoreNotFoundException"


@pytest.mark.parametrize(("spec", "curve"), [("ECC_NIST_P256", ec.SECP256R1), ("ECC_NIST_P384", ec.SECP384R1)])
def test_shared_secret_equals_the_peers(
    world: KmsWorld, enclave: Enclave, spec: str, curve: type[ec.EllipticCurve]
) -> None:
    key, peer = world.kms.create_key(spec=spec), ec.generate_private_key(curve())
    public_key_der = peer.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    own = serialization.load_der_public_key(b64decode(world.call("GetPublicKey", KeyId=key.arn)["PublicKey"]))
    assert isinstance(own, ec.EllipticCurvePublicKey)
    request = {"KeyId": key.arn, "KeyAgreementAlgorithm": "ECDH", "PublicKey": encode_base64(public_key_der)}

    plain = world.call("DeriveSharedSecret", **request)
    sealed = world.call("DeriveSharedSecret", Recipient=enclave.recipient_json(), **request)

    assert b64decode(plain["SharedSecret"]) == peer.exchange(ec.ECDH(), own)
    assert set(sealed) == {"KeyId", "CiphertextForRecipient", "KeyAgreementAlgorithm", "KeyOrigin"}
    assert enclave.open(b64decode(sealed["CiphertextForRecipient"])) == peer.exchange(ec.ECDH(), own)


def test_shared_secret_with_another_curve_or_key_is_refused(world: KmsWorld) -> None:
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    public_key = encode_base64(
        other.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    request = {"KeyAgreementAlgorithm": "ECDH", "PublicKey": public_key}
    key, symmetric = world.kms.create_key(spec="ECC_NIST_P256"), world.kms.create_key()

    assert world.fault("DeriveSharedSecret", KeyId=key.arn, **request).code == "ValidationException"
    assert code_and_text(world.fault("DeriveSharedSecret", KeyId=symmetric.arn, **request)) == (
        "InvalidKeyUsageException",
        f"{symmetric.arn} key usage is ENCRYPT_DECRYPT which is not valid for DeriveSharedSecret.",
    )
