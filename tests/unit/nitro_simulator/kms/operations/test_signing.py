"""Sign and Verify."""

from __future__ import annotations

import hashlib
from base64 import b64decode

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from nitro_simulator.kms.keys.specs import SIGNING_CURVES, signing_algorithms
from tests.support.kms.world import KmsWorld, allow, policy
from vsock_wire.protocol.json_codec import encode_base64

MESSAGE = b"attack at dawn"
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
ALGORITHMS = [(spec, name) for spec in ("RSA_2048", *SIGNING_CURVES) for name in signing_algorithms(spec)]


def check(public_key_der: bytes, signature: bytes, algorithm: str) -> None:
    """Verify a signature without the simulator's code."""
    key, chosen = serialization.load_der_public_key(public_key_der), HASHES[algorithm[-3:]]
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, MESSAGE, ec.ECDSA(chosen))
        return
    assert isinstance(key, rsa.RSAPublicKey)
    scheme: padding.AsymmetricPadding = padding.PKCS1v15()
    if "PSS" in algorithm:
        scheme = padding.PSS(padding.MGF1(chosen), chosen.digest_size)
    key.verify(signature, MESSAGE, scheme, chosen)


@pytest.mark.parametrize(("spec", "algorithm"), ALGORITHMS)
@pytest.mark.parametrize("is_digest", [False, True])
def test_signature_verifies_elsewhere_and_here(world: KmsWorld, *, spec: str, algorithm: str, is_digest: bool) -> None:
    key = world.kms.create_key(spec=spec, usage="SIGN_VERIFY")
    digest = hashlib.new(f"sha{algorithm[-3:]}", MESSAGE).digest()
    request = {
        "KeyId": key.arn,
        "Message": encode_base64(digest if is_digest else MESSAGE),
        "MessageType": "DIGEST" if is_digest else "RAW",
        "SigningAlgorithm": algorithm,
    }

    answer = world.call("Sign", **request)

    assert answer | {"Signature": ""} == {"KeyId": key.arn, "Signature": "", "SigningAlgorithm": algorithm}
    public_key_der = b64decode(world.call("GetPublicKey", KeyId=key.arn)["PublicKey"])
    signature = b64decode(answer["Signature"])
    check(public_key_der, signature, algorithm)
    with pytest.raises(InvalidSignature):
        check(public_key_der, signature[:-1] + bytes([signature[-1] ^ 1]), algorithm)
    assert world.call("Verify", **request, Signature=answer["Signature"])["SignatureValid"] is True
    other = world.call("Sign", **request | {"Message": encode_base64(bytes(len(digest)))})["Signature"]
    fault = world.fault("Verify", **request, Signature=other)
    assert (fault.code, fault.message, fault.http_status) == ("KMSInvalidSignatureException", None, 400)


@pytest.mark.parametrize("operation", ["Sign", "Verify"])
def test_key_of_another_usage_or_algorithm_is_refused(world: KmsWorld, operation: str) -> None:
    request: dict[str, object] = {"Message": "AAAA", "SigningAlgorithm": "ECDSA_SHA_256"}
    request |= {"Signature": "AAAA"} if operation == "Verify" else {}
    encrypting = world.kms.create_key(spec="RSA_2048")
    signing = world.kms.create_key(spec="RSA_2048", usage="SIGN_VERIFY")

    fault = world.fault(operation, KeyId=encrypting.arn, **request)
    assert (fault.code, fault.message) == (
        "InvalidKeyUsageException",
        f"{encrypting.arn} key usage is ENCRYPT_DECRYPT which is not valid for {operation}.",
    )
    fault = world.fault(operation, KeyId=signing.arn, **request)
    assert (fault.code, fault.message) == (
        "InvalidKeyUsageException",
        "Algorithm ECDSA_SHA_256 and key spec RSA_2048 are incompatible with each other.",
    )


def test_signing_key_encrypts_and_decrypts_nothing(world: KmsWorld) -> None:
    key = world.kms.create_key(spec="RSA_2048", usage="SIGN_VERIFY")
    for operation, more in (("Encrypt", {"Plaintext": "AAAA"}), ("Decrypt", {"CiphertextBlob": "AAAA"})):
        request = {"KeyId": key.arn, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256", **more}
        fault = world.fault(operation, **request)
        assert (fault.code, fault.message) == (
            "InvalidKeyUsageException",
            f"{key.arn} key usage is SIGN_VERIFY which is not valid for {operation}.",
        )


@pytest.mark.parametrize("operation", ["Sign", "Verify"])
def test_digest_of_the_wrong_size_and_other_message_types_are_refused(world: KmsWorld, operation: str) -> None:
    key = world.kms.create_key(spec="ECC_NIST_P256", usage="SIGN_VERIFY")
    request: dict[str, object] = {"KeyId": key.arn, "Message": "AAAA", "SigningAlgorithm": "ECDSA_SHA_256"}
    request |= {"Signature": "AAAA"} if operation == "Verify" else {}

    fault = world.fault(operation, **request, MessageType="DIGEST")
    assert (fault.code, fault.message) == (
        "ValidationException",
        "Digest is invalid length for algorithm ECDSA_SHA_256.",
    )
    assert world.fault(operation, **request, MessageType="EXTERNAL_MU").code == "ValidationException"


def test_policy_decides_by_algorithm_and_recipient_is_not_taken(world: KmsWorld) -> None:
    condition = {"StringEquals": {"kms:SigningAlgorithm": "RSASSA_PSS_SHA_256"}}
    key = world.kms.create_key(
        spec="RSA_2048", usage="SIGN_VERIFY", policy=policy(allow("kms:Sign", condition=condition))
    )
    request = {"KeyId": key.arn, "Message": "AAAA"}

    world.call("Sign", **request, SigningAlgorithm="RSASSA_PSS_SHA_256")
    assert world.fault("Sign", **request, SigningAlgorithm="RSASSA_PSS_SHA_384").code == "AccessDeniedException"
    dry = world.fault("Sign", **request, SigningAlgorithm="RSASSA_PSS_SHA_256", DryRun=True)
    assert dry.code == "DryRunOperationException"
    with_recipient = world.fault("Sign", **request, SigningAlgorithm="RSASSA_PSS_SHA_256", Recipient={})
    assert with_recipient.code == "ValidationException"
