from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nitro_simulator.errors import KmsFault
from nitro_simulator.identities import Identities
from nitro_simulator.kms.keys import KmsKey
from nitro_simulator.kms.service import SimulatedKms
from tests.support.kms.world import (
    ACCOUNT_ID,
    PCR0,
    ROLE,
    SESSION_ARN,
    Enclave,
    KmsWorld,
    allow,
    attested_policy,
    deny,
    policy,
)

SECRET = b"attack at dawn"
IMAGE = "kms:RecipientAttestation:ImageSha384"
UNKNOWN_CIPHERTEXT = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
    "or you are not allowed to access."
)


def _b64(data: bytes) -> str:
    return b64encode(data).decode()


def _recipient(enclave: Enclave) -> dict[str, str]:
    fields: dict[str, Any] = enclave.recipient()
    return fields | {"AttestationDocument": _b64(fields["AttestationDocument"])}


def _denied(key: KmsKey, action: str = "kms:Decrypt", *, explicitly: bool = False) -> str:
    reason = (
        "with an explicit deny in a resource-based policy"
        if explicitly
        else f"because no resource-based policy allows the {action} action"
    )
    return f"User: {SESSION_ARN} is not authorized to perform: {action} on resource: {key.arn} {reason}"


def _code(fault: KmsFault) -> tuple[str, str | None]:
    assert fault.http_status == 400
    return fault.code, fault.message


# What the policy and the Recipient make of Decrypt


def test_decrypt_without_recipient_returns_plaintext_where_policy_allows(world: KmsWorld) -> None:
    key = world.kms.create_key()

    answer = world.call("Decrypt", CiphertextBlob=_b64(key.seal(SECRET)))

    assert answer == {"KeyId": key.arn, "Plaintext": _b64(SECRET), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}


def test_decrypt_with_recipient_returns_no_plaintext_even_where_policy_does_not_ask(
    world: KmsWorld, enclave: Enclave
) -> None:
    key = world.kms.create_key()

    answer = world.call("Decrypt", CiphertextBlob=_b64(key.seal(SECRET)), Recipient=_recipient(enclave))

    assert set(answer) == {"KeyId", "CiphertextForRecipient", "EncryptionAlgorithm"}
    assert enclave.open(b64decode(answer["CiphertextForRecipient"])) == SECRET


@pytest.mark.parametrize("operator", ["StringEquals", "StringEqualsIgnoreCase", "StringLike"])
@pytest.mark.parametrize("condition_key", [IMAGE, "kms:RecipientAttestation:PCR0", IMAGE.upper()])
def test_policy_on_image_lets_that_image_alone_decrypt(
    world: KmsWorld, enclave: Enclave, operator: str, condition_key: str
) -> None:
    key = world.kms.create_key(policy=policy(allow("kms:Decrypt", condition={operator: {condition_key: PCR0}})))
    blob = _b64(key.seal(SECRET))
    other = world.enclave(enclave.key, pcrs={0: b"\xee" * 48})

    assert "CiphertextForRecipient" in world.call("Decrypt", CiphertextBlob=blob, Recipient=_recipient(enclave))
    for request in ({"Recipient": _recipient(other)}, {}):
        fault = world.fault("Decrypt", CiphertextBlob=blob, **request)
        assert _code(fault) == ("AccessDeniedException", _denied(key))


def test_upper_case_pcr_in_policy_needs_the_operator_that_ignores_case(world: KmsWorld, enclave: Enclave) -> None:
    for operator, is_allowed in (("StringEquals", False), ("StringEqualsIgnoreCase", True)):
        key = world.kms.create_key(policy=policy(allow("kms:Decrypt", condition={operator: {IMAGE: PCR0.upper()}})))
        request = {"CiphertextBlob": _b64(key.seal(SECRET)), "Recipient": _recipient(enclave)}
        if is_allowed:
            world.call("Decrypt", **request)
        else:
            assert world.fault("Decrypt", **request).code == "AccessDeniedException"


def test_every_pcr_of_a_policy_must_be_the_documents(world: KmsWorld, enclave: Enclave) -> None:
    pcrs = {f"kms:RecipientAttestation:PCR{index}": bytes([0xA0 + index]).hex() * 48 for index in (0, 3, 8)}
    right = world.kms.create_key(policy=policy(allow("kms:Decrypt", condition={"StringEquals": pcrs})))
    wrong = world.kms.create_key(
        policy=policy(
            allow("kms:Decrypt", condition={"StringEquals": pcrs | {"kms:RecipientAttestation:PCR8": "00" * 48}})
        )
    )

    world.call("Decrypt", CiphertextBlob=_b64(right.seal(SECRET)), Recipient=_recipient(enclave))
    fault = world.fault("Decrypt", CiphertextBlob=_b64(wrong.seal(SECRET)), Recipient=_recipient(enclave))
    assert fault.code == "AccessDeniedException"


def test_debug_enclave_is_refused_by_policy_on_image(world: KmsWorld, enclave: Enclave) -> None:
    key = world.kms.create_key(policy=attested_policy())
    debug = world.enclave(enclave.key, debug=True)

    fault = world.fault("Decrypt", CiphertextBlob=_b64(key.seal(SECRET)), Recipient=_recipient(debug))

    assert _code(fault) == ("AccessDeniedException", _denied(key))


def test_explicit_deny_wins_over_the_account_and_says_so(world: KmsWorld, enclave: Enclave) -> None:
    statements = [
        allow("kms:*", principal={"AWS": ACCOUNT_ID}),
        deny("kms:Decrypt", principal="*", condition={"StringNotEqualsIgnoreCase": {IMAGE: PCR0}}),
    ]
    key = world.kms.create_key(policy=policy(*statements))
    blob = _b64(key.seal(SECRET))

    world.call("Decrypt", CiphertextBlob=blob, Recipient=_recipient(enclave))
    assert _code(world.fault("Decrypt", CiphertextBlob=blob)) == (
        "AccessDeniedException",
        _denied(key, explicitly=True),
    )


def test_policy_for_one_role_refuses_another(world: KmsWorld) -> None:
    key = world.kms.create_key(policy=policy(allow("kms:Decrypt")))
    blob = _b64(key.seal(SECRET))

    world.call("Decrypt", CiphertextBlob=blob)
    fault = world.fault("Decrypt", "OtherRole", CiphertextBlob=blob)
    assert "assumed-role/OtherRole/" in (fault.message or "")


def test_policy_on_encryption_context_is_enforced(world: KmsWorld) -> None:
    condition = {"StringEquals": {"kms:EncryptionContext:tenant": "7"}}
    key = world.kms.create_key(policy=policy(allow("kms:Decrypt", condition=condition)))

    for tenant, code in (("7", None), ("8", "AccessDeniedException")):
        request = {
            "CiphertextBlob": _b64(key.seal(SECRET, encryption_context={"tenant": tenant})),
            "EncryptionContext": {"tenant": tenant},
        }
        if code is None:
            world.call("Decrypt", **request)
        else:
            assert world.fault("Decrypt", **request).code == code


def test_policy_on_caller_account_and_service_is_enforced(world: KmsWorld) -> None:
    ours = world.kms.create_key(
        policy=policy(
            allow("kms:Decrypt", principal="*", condition={"StringEquals": {"kms:CallerAccount": ACCOUNT_ID}})
        )
    )
    via = {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}
    through_s3 = world.kms.create_key(policy=policy(allow("kms:Decrypt", condition=via)))

    world.call("Decrypt", CiphertextBlob=_b64(ours.seal(SECRET)))
    assert world.fault("Decrypt", CiphertextBlob=_b64(through_s3.seal(SECRET))).code == "AccessDeniedException"


def test_context_names_that_differ_in_case_only_are_refused(world: KmsWorld) -> None:
    key = world.kms.create_key()
    context = {"tenant": "7", "Tenant": "8"}

    fault = world.fault(
        "Decrypt", CiphertextBlob=_b64(key.seal(SECRET, encryption_context=context)), EncryptionContext=context
    )

    assert fault.code == "ValidationException"


# The order in which Decrypt checks, and what does not open


def test_bytes_that_name_no_key_are_an_invalid_ciphertext_without_text(world: KmsWorld) -> None:
    assert _code(world.fault("Decrypt", CiphertextBlob=_b64(b"x" * 200))) == ("InvalidCiphertextException", None)


def test_blob_of_a_key_that_is_not_here_is_denied_as_kms_words_it(world: KmsWorld, enclave: Enclave) -> None:
    elsewhere = SimulatedKms(
        attestation_root_sha256=world.authority.root_sha256, identities=Identities(), region="eu-west-1"
    )
    blob = _b64(elsewhere.create_key().seal(SECRET))

    assert _code(world.fault("Decrypt", CiphertextBlob=blob)) == ("AccessDeniedException", UNKNOWN_CIPHERTEXT)
    assert _code(world.fault("Decrypt", CiphertextBlob=blob, Recipient=_recipient(enclave))) == (
        "AccessDeniedException",
        UNKNOWN_CIPHERTEXT,
    )


@pytest.mark.parametrize("context", [{}, {"tenant": "8"}, {"Tenant": "7"}, {"tenant": "7", "more": "1"}])
def test_wrong_context_is_an_invalid_ciphertext_without_text(world: KmsWorld, context: dict[str, str]) -> None:
    key = world.kms.create_key()
    blob = _b64(key.seal(SECRET, encryption_context={"tenant": "7"}))

    assert _code(world.fault("Decrypt", CiphertextBlob=blob, EncryptionContext=context)) == (
        "InvalidCiphertextException",
        None,
    )


def test_policy_is_asked_before_the_blob_is_opened(world: KmsWorld) -> None:
    key = world.kms.create_key(policy=attested_policy())
    broken = bytearray(key.seal(SECRET))
    broken[-1] ^= 1

    assert world.fault("Decrypt", CiphertextBlob=_b64(bytes(broken))).code == "AccessDeniedException"


def test_named_key_must_be_the_blobs(world: KmsWorld) -> None:
    key, other = world.kms.create_key(alias="alias/mine"), world.kms.create_key()
    blob = _b64(key.seal(SECRET))

    assert world.call("Decrypt", CiphertextBlob=blob, KeyId="alias/mine")["KeyId"] == key.arn
    fault = world.fault("Decrypt", CiphertextBlob=blob, KeyId=other.key_id)
    assert _code(fault) == (
        "IncorrectKeyException",
        "The key ID in the request does not identify a CMK that can perform this operation.",
    )


def test_named_key_that_does_not_exist_is_not_found(world: KmsWorld) -> None:
    blob = _b64(world.kms.create_key().seal(SECRET))

    assert world.fault("Decrypt", CiphertextBlob=blob, KeyId="alias/none").code == "NotFoundException"


def test_disabled_key_is_refused_after_the_policy(world: KmsWorld) -> None:
    key = world.kms.create_key()
    blob = _b64(key.seal(SECRET))
    world.call("DisableKey", KeyId=key.key_id)

    assert _code(world.fault("Decrypt", CiphertextBlob=blob)) == ("DisabledException", f"{key.arn} is disabled.")
    world.kms.put_key_policy(key, policy())
    assert world.fault("Decrypt", CiphertextBlob=blob).code == "AccessDeniedException"


def test_largest_blob_opens_and_one_byte_more_is_refused(world: KmsWorld, enclave: Enclave) -> None:
    key = world.kms.create_key()
    plaintext = b"p" * 4096

    answer = world.call(
        "Decrypt", CiphertextBlob=_b64(key.seal(plaintext, blob_bytes=6144)), Recipient=_recipient(enclave)
    )

    assert enclave.open(b64decode(answer["CiphertextForRecipient"])) == plaintext
    assert len(b64decode(answer["CiphertextForRecipient"])) <= 6144
    fault = world.fault("Decrypt", CiphertextBlob=_b64(key.seal(plaintext, blob_bytes=6145)))
    assert fault.code == "ValidationException"


def test_grant_token_is_refused_because_there_are_no_grants(world: KmsWorld) -> None:
    blob = _b64(world.kms.create_key().seal(SECRET))

    assert world.fault("Decrypt", CiphertextBlob=blob, GrantTokens=["t"]).code == "InvalidGrantTokenException"
    world.call("Decrypt", CiphertextBlob=blob, GrantTokens=[])


def test_dry_run_says_that_it_would_have_succeeded(world: KmsWorld) -> None:
    key = world.kms.create_key()
    requests: list[tuple[str, dict[str, Any]]] = [
        ("Decrypt", {"CiphertextBlob": _b64(key.seal(SECRET))}),
        ("Encrypt", {"KeyId": key.arn, "Plaintext": _b64(SECRET)}),
        ("ReEncrypt", {"DestinationKeyId": key.arn, "CiphertextBlob": _b64(key.seal(SECRET))}),
        ("GenerateDataKey", {"KeyId": key.arn, "KeySpec": "AES_256"}),
    ]
    for operation, request in requests:
        assert world.fault(operation, DryRun=True, **request).code == "DryRunOperationException"
    modifiers = world.fault("Decrypt", CiphertextBlob=_b64(key.seal(SECRET)), DryRunModifiers=["IGNORE_CIPHERTEXT"])
    assert modifiers.code == "ValidationException"


def test_bad_document_is_refused_and_nothing_is_answered_in_plaintext(world: KmsWorld, enclave: Enclave) -> None:
    key = world.kms.create_key()
    recipient = _recipient(enclave) | {"AttestationDocument": _b64(b"forged")}

    fault = world.fault("Decrypt", CiphertextBlob=_b64(key.seal(SECRET)), Recipient=recipient)

    assert fault.code == "ValidationException"


# Encrypt and ReEncrypt


def test_encrypt_and_decrypt_go_round_with_context(world: KmsWorld) -> None:
    key = world.kms.create_key(alias="alias/mine")
    context = {"b": "2", "a": "1"}

    blob = world.call("Encrypt", KeyId="alias/mine", Plaintext=_b64(SECRET), EncryptionContext=context)
    assert blob["KeyId"] == key.arn
    answer = world.call("Decrypt", CiphertextBlob=blob["CiphertextBlob"], EncryptionContext={"a": "1", "b": "2"})
    assert b64decode(answer["Plaintext"]) == SECRET


def test_encrypt_asks_the_policy(world: KmsWorld) -> None:
    key = world.kms.create_key(policy=policy(deny("kms:Encrypt")))

    fault = world.fault("Encrypt", KeyId=key.arn, Plaintext=_b64(SECRET))

    assert _code(fault) == ("AccessDeniedException", _denied(key, "kms:Encrypt", explicitly=True))


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"])
def test_rsa_key_goes_round_with_its_id_only(world: KmsWorld, enclave: Enclave, algorithm: str) -> None:
    key = world.kms.create_key(spec="RSA_2048")
    sealed = world.call("Encrypt", KeyId=key.arn, Plaintext=_b64(SECRET), EncryptionAlgorithm=algorithm)
    request = {"CiphertextBlob": sealed["CiphertextBlob"], "EncryptionAlgorithm": algorithm}

    answer = world.call("Decrypt", KeyId=key.arn, Recipient=_recipient(enclave), **request)

    assert enclave.open(b64decode(answer["CiphertextForRecipient"])) == SECRET
    assert answer["EncryptionAlgorithm"] == algorithm
    assert world.fault("Decrypt", **request).code == "ValidationException"
    broken = world.fault("Decrypt", KeyId=key.arn, CiphertextBlob=_b64(b"x" * 256), EncryptionAlgorithm=algorithm)
    assert _code(broken) == ("InvalidCiphertextException", None)


def test_rsa_key_refuses_context_long_plaintext_and_the_symmetric_algorithm(world: KmsWorld) -> None:
    key = world.kms.create_key(spec="RSA_2048")
    oaep = {"KeyId": key.arn, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}

    assert world.call("Encrypt", Plaintext=_b64(b"x" * 190), **oaep)
    assert world.fault("Encrypt", Plaintext=_b64(b"x" * 191), **oaep).code == "ValidationException"
    with_context = world.fault("Encrypt", Plaintext=_b64(b"x"), EncryptionContext={"a": "1"}, **oaep)
    assert with_context.code == "ValidationException"
    assert _code(world.fault("Encrypt", Plaintext=_b64(b"x"), KeyId=key.arn)) == (
        "InvalidKeyUsageException",
        "Algorithm SYMMETRIC_DEFAULT and key spec RSA_2048 are incompatible with each other.",
    )


def test_re_encrypt_moves_a_blob_to_another_key_and_context(world: KmsWorld) -> None:
    source, destination = world.kms.create_key(), world.kms.create_key()

    answer = world.call(
        "ReEncrypt",
        CiphertextBlob=_b64(source.seal(SECRET, encryption_context={"a": "1"})),
        SourceEncryptionContext={"a": "1"},
        DestinationKeyId=destination.key_id,
        DestinationEncryptionContext={"b": "2"},
    )

    assert (answer["SourceKeyId"], answer["KeyId"]) == (source.arn, destination.arn)
    assert "Plaintext" not in answer
    opened = world.call("Decrypt", CiphertextBlob=answer["CiphertextBlob"], EncryptionContext={"b": "2"})
    assert b64decode(opened["Plaintext"]) == SECRET


@pytest.mark.parametrize(("denied", "of_source"), [("kms:ReEncryptFrom", True), ("kms:ReEncryptTo", False)])
def test_re_encrypt_asks_both_policies(world: KmsWorld, denied: str, of_source: bool) -> None:
    everything = allow("kms:*")
    source = world.kms.create_key(policy=policy(everything, *([deny(denied)] if of_source else [])))
    destination = world.kms.create_key(policy=policy(everything, *([] if of_source else [deny(denied)])))

    fault = world.fault("ReEncrypt", CiphertextBlob=_b64(source.seal(SECRET)), DestinationKeyId=destination.arn)

    assert _code(fault) == (
        "AccessDeniedException",
        _denied(source if of_source else destination, denied, explicitly=True),
    )


# Data keys, random bytes, shared secrets


@pytest.mark.parametrize(
    ("request_", "size"), [({"KeySpec": "AES_128"}, 16), ({"KeySpec": "AES_256"}, 32), ({"NumberOfBytes": 64}, 64)]
)
def test_data_key_comes_in_plaintext_and_sealed(world: KmsWorld, request_: dict[str, Any], size: int) -> None:
    key = world.kms.create_key()

    answer = world.call("GenerateDataKey", KeyId=key.arn, EncryptionContext={"a": "1"}, **request_)

    assert len(b64decode(answer["Plaintext"])) == size
    opened = world.call("Decrypt", CiphertextBlob=answer["CiphertextBlob"], EncryptionContext={"a": "1"})
    assert opened["Plaintext"] == answer["Plaintext"]


def test_data_key_for_recipient_is_sealed_twice_and_shown_never(world: KmsWorld, enclave: Enclave) -> None:
    key = world.kms.create_key(policy=attested_policy())

    answer = world.call("GenerateDataKey", KeyId=key.arn, KeySpec="AES_256", Recipient=_recipient(enclave))

    assert set(answer) == {"CiphertextBlob", "CiphertextForRecipient", "KeyId"}
    opened = world.call("Decrypt", CiphertextBlob=answer["CiphertextBlob"], Recipient=_recipient(enclave))
    first, second = (enclave.open(b64decode(each["CiphertextForRecipient"])) for each in (answer, opened))
    assert first == second
    fault = world.fault("GenerateDataKey", KeyId=key.arn, KeySpec="AES_256")
    assert _code(fault) == ("AccessDeniedException", _denied(key, "kms:GenerateDataKey"))


@pytest.mark.parametrize("request_", [{}, {"KeySpec": "AES_256", "NumberOfBytes": 32}])
def test_data_key_needs_exactly_one_size(world: KmsWorld, request_: dict[str, Any]) -> None:
    key = world.kms.create_key()

    fault = world.fault("GenerateDataKey", KeyId=key.arn, **request_)

    assert _code(fault) == ("ValidationException", "Please specify either number of bytes or key spec.")


@pytest.mark.parametrize(("request_", "size"), [({}, 32), ({"NumberOfBytes": 8}, 8)])
def test_data_key_without_plaintext_is_sealed_only(world: KmsWorld, request_: dict[str, Any], size: int) -> None:
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

    answer = world.call("GenerateDataKeyPair", KeyId=key.arn, KeyPairSpec=spec, Recipient=_recipient(enclave))

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

    answer = world.call("GenerateDataKeyPair", KeyId=key.arn, KeyPairSpec="RSA_4096", Recipient=_recipient(enclave))

    assert len(b64decode(answer["CiphertextForRecipient"])) <= 6144
    assert len(b64decode(answer["PrivateKeyCiphertextBlob"])) <= 6144


def test_data_key_pair_without_recipient_shows_the_private_key(world: KmsWorld) -> None:
    key = world.kms.create_key()

    answer = world.call("GenerateDataKeyPair", KeyId=key.arn, KeyPairSpec="ECC_NIST_P256")

    serialization.load_der_private_key(b64decode(answer["PrivateKeyPlaintext"]), None)


def test_data_key_pair_of_a_kind_the_simulator_has_not_is_unsupported(world: KmsWorld) -> None:
    fault = world.fault("GenerateDataKeyPair", KeyId=world.kms.create_key().arn, KeyPairSpec="SM2")

    assert fault.code == "UnsupportedOperationException"


@pytest.mark.parametrize("operation", ["GenerateDataKey", "GenerateDataKeyPair"])
def test_data_keys_need_a_symmetric_key(world: KmsWorld, operation: str) -> None:
    size = {"KeySpec": "AES_256"} if operation == "GenerateDataKey" else {"KeyPairSpec": "RSA_2048"}
    for spec in ("RSA_2048", "ECC_NIST_P256"):
        fault = world.fault(operation, KeyId=world.kms.create_key(spec=spec).arn, **size)
        assert fault.code == "InvalidKeyUsageException"


@pytest.mark.parametrize("size", [1, 1024])
def test_random_bytes_come_in_plaintext_or_for_the_recipient(world: KmsWorld, enclave: Enclave, size: int) -> None:
    plain = world.call("GenerateRandom", NumberOfBytes=size)
    sealed = world.call("GenerateRandom", NumberOfBytes=size, Recipient=_recipient(enclave))

    assert (set(plain), set(sealed)) == ({"Plaintext"}, {"CiphertextForRecipient"})
    assert len(b64decode(plain["Plaintext"])) == size
    assert len(enclave.open(b64decode(sealed["CiphertextForRecipient"]))) == size


def test_random_bytes_need_a_size_and_no_key_store(world: KmsWorld) -> None:
    assert world.fault("GenerateRandom").code == "ValidationException"
    fault = world.fault("GenerateRandom", NumberOfBytes=1, CustomKeyStoreId="cks-1")
    assert fault.code == "CustomKeyStoreNotFoundException"


@pytest.mark.parametrize(("spec", "curve"), [("ECC_NIST_P256", ec.SECP256R1), ("ECC_NIST_P384", ec.SECP384R1)])
def test_shared_secret_is_the_peers(
    world: KmsWorld, enclave: Enclave, spec: str, curve: type[ec.EllipticCurve]
) -> None:
    key, peer = world.kms.create_key(spec=spec), ec.generate_private_key(curve())
    public_key_der = peer.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    own = serialization.load_der_public_key(b64decode(world.call("GetPublicKey", KeyId=key.arn)["PublicKey"]))
    assert isinstance(own, ec.EllipticCurvePublicKey)
    request = {"KeyId": key.arn, "KeyAgreementAlgorithm": "ECDH", "PublicKey": _b64(public_key_der)}

    plain = world.call("DeriveSharedSecret", **request)
    sealed = world.call("DeriveSharedSecret", Recipient=_recipient(enclave), **request)

    assert b64decode(plain["SharedSecret"]) == peer.exchange(ec.ECDH(), own)
    assert set(sealed) == {"KeyId", "CiphertextForRecipient", "KeyAgreementAlgorithm", "KeyOrigin"}
    assert enclave.open(b64decode(sealed["CiphertextForRecipient"])) == peer.exchange(ec.ECDH(), own)


def test_shared_secret_with_another_curve_or_key_is_refused(world: KmsWorld) -> None:
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    public_key = _b64(other.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    request = {"KeyAgreementAlgorithm": "ECDH", "PublicKey": public_key}
    key, symmetric = world.kms.create_key(spec="ECC_NIST_P256"), world.kms.create_key()

    assert world.fault("DeriveSharedSecret", KeyId=key.arn, **request).code == "ValidationException"
    assert _code(world.fault("DeriveSharedSecret", KeyId=symmetric.arn, **request)) == (
        "InvalidKeyUsageException",
        f"{symmetric.arn} key usage is ENCRYPT_DECRYPT which is not valid for DeriveSharedSecret.",
    )


def test_unknown_operation_is_refused_without_text(world: KmsWorld) -> None:
    for operation in ("Sign", "", "decrypt"):
        assert _code(world.fault(operation, ROLE)) == ("UnknownOperationException", None)
