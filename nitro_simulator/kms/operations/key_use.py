"""KMS operations that use a key, or generate random bytes. Each takes a call and returns the response's fields.

The result contains the secret in plaintext; ``SimulatedKms`` replaces it with CiphertextForRecipient if the request has
a Recipient.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from nitro_simulator.errors import CiphertextError, KmsFault, validation_fault
from nitro_simulator.kms.call import Call
from nitro_simulator.kms.keys.ciphertext_blob import blob_key_id
from nitro_simulator.kms.keys.key import KmsKey
from nitro_simulator.kms.keys.specs import ECDH, KEY_AGREEMENT, RSA_BITS, SIGNING_CURVES, SYMMETRIC_DEFAULT
from vsock_wire.protocol.json_codec import JsonObject

AES_KEY_BYTES = {"AES_128": 16, "AES_256": 32}


def decrypt(call: Call) -> JsonObject:
    """Decrypt: the blob must name a key, the policy must allow the request, and only then is the blob decrypted."""
    algorithm = call.params.get("EncryptionAlgorithm", SYMMETRIC_DEFAULT)
    key = _check_may_open(call, reference_field="KeyId", algorithm=algorithm, context_field="EncryptionContext")
    call.stop_if_dry_run()
    plaintext = _open(call, key, algorithm, call.params.get("EncryptionContext", {}))
    return {"KeyId": key.arn, "Plaintext": plaintext, "EncryptionAlgorithm": algorithm}


def encrypt(call: Call) -> JsonObject:
    """Encrypt."""
    key = call.keys.find(call.params["KeyId"])
    algorithm = call.params.get("EncryptionAlgorithm", SYMMETRIC_DEFAULT)
    call.use_key(key, context_field="EncryptionContext")
    _check_algorithm(key, algorithm)
    call.stop_if_dry_run()
    blob = _seal(key, call.params["Plaintext"], algorithm, call.params.get("EncryptionContext", {}))
    return {"CiphertextBlob": blob, "KeyId": key.arn, "EncryptionAlgorithm": algorithm}


def re_encrypt(call: Call) -> JsonObject:
    """ReEncrypt: two keys, two policies, two encryption contexts; the plaintext never leaves KMS."""
    from_algorithm = call.params.get("SourceEncryptionAlgorithm", SYMMETRIC_DEFAULT)
    to_algorithm = call.params.get("DestinationEncryptionAlgorithm", SYMMETRIC_DEFAULT)
    source = _check_may_open(
        call,
        reference_field="SourceKeyId",
        algorithm=from_algorithm,
        context_field="SourceEncryptionContext",
        action="kms:ReEncryptFrom",
    )
    destination = call.keys.find(call.params["DestinationKeyId"])
    call.use_key(destination, action="kms:ReEncryptTo", context_field="DestinationEncryptionContext")
    _check_algorithm(destination, to_algorithm)
    call.stop_if_dry_run()
    plaintext = _open(call, source, from_algorithm, call.params.get("SourceEncryptionContext", {}))
    blob = _seal(destination, plaintext, to_algorithm, call.params.get("DestinationEncryptionContext", {}))
    return {
        "CiphertextBlob": blob,
        "SourceKeyId": source.arn,
        "KeyId": destination.arn,
        "SourceEncryptionAlgorithm": from_algorithm,
        "DestinationEncryptionAlgorithm": to_algorithm,
    }


def generate_data_key(call: Call) -> JsonObject:
    """GenerateDataKey."""
    key_spec, size = call.params.get("KeySpec"), call.params.get("NumberOfBytes")
    if (key_spec is None) == (size is None):
        raise validation_fault("Please specify either number of bytes or key spec.")
    key = _use_symmetric_key(call)
    data_key = secrets.token_bytes(AES_KEY_BYTES[key_spec] if key_spec else int(size or 0))
    blob = _seal(key, data_key, SYMMETRIC_DEFAULT, call.params.get("EncryptionContext", {}))
    return {"CiphertextBlob": blob, "Plaintext": data_key, "KeyId": key.arn}


def generate_data_key_without_plaintext(call: Call) -> JsonObject:
    """GenerateDataKeyWithoutPlaintext: 32 bytes unless the request has a size."""
    if not call.params.keys() & {"KeySpec", "NumberOfBytes"}:
        call.params["KeySpec"] = "AES_256"
    answer = generate_data_key(call)
    del answer["Plaintext"]
    return answer


def generate_data_key_pair(call: Call) -> JsonObject:
    """GenerateDataKeyPair: the private key as PKCS #8 in DER, the public one as SubjectPublicKeyInfo."""
    pair_spec = call.params["KeyPairSpec"]
    key = _use_symmetric_key(call)
    private_key = _new_private_key(pair_spec)
    private_key_der = private_key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public_key_der = private_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    blob = _seal(key, private_key_der, SYMMETRIC_DEFAULT, call.params.get("EncryptionContext", {}))
    return {
        "PrivateKeyCiphertextBlob": blob,
        "PrivateKeyPlaintext": private_key_der,
        "PublicKey": public_key_der,
        "KeyId": key.arn,
        "KeyPairSpec": pair_spec,
    }


def generate_random(call: Call) -> JsonObject:
    """GenerateRandom: it uses no key, so identity policies decide."""
    call.authorize(None)
    if "CustomKeyStoreId" in call.params:
        raise KmsFault("CustomKeyStoreNotFoundException", "CustomKeyStoreId: the simulator has no custom key stores")
    if "NumberOfBytes" not in call.params:
        raise validation_fault("NumberOfBytes is required.")
    return {"Plaintext": secrets.token_bytes(call.params["NumberOfBytes"])}


def derive_shared_secret(call: Call) -> JsonObject:
    """DeriveSharedSecret: the raw ECDH secret."""
    key = call.keys.find(call.params["KeyId"])
    call.use_key(key, usage=KEY_AGREEMENT)
    call.stop_if_dry_run()
    try:
        secret = key.derive(call.params["PublicKey"])
    except ValueError:
        raise validation_fault(f"PublicKey: expected a public key in DER on the curve of {key.spec}") from None
    return {"KeyId": key.arn, "SharedSecret": secret, "KeyAgreementAlgorithm": ECDH, "KeyOrigin": "AWS_KMS"}


def _check_may_open(
    call: Call, *, reference_field: str, algorithm: str, context_field: str, action: str | None = None
) -> KmsKey:
    """Return the key for the request's blob, after checking everything but the blob's content."""
    blob = call.params["CiphertextBlob"]
    key = _key_to_open_with(call, blob, call.params.get(reference_field), algorithm)
    call.use_key(key, action=action, context_field=context_field)
    _check_algorithm(key, algorithm)
    if algorithm == SYMMETRIC_DEFAULT and _named_key_id(blob) != key.key_id:
        text = "The key ID in the request does not identify a CMK that can perform this operation."
        raise KmsFault("IncorrectKeyException", text)
    return key


def _open(call: Call, key: KmsKey, algorithm: str, encryption_context: Mapping[str, str]) -> bytes:
    try:
        return key.open(call.params["CiphertextBlob"], algorithm=algorithm, encryption_context=encryption_context)
    except CiphertextError:
        raise KmsFault("InvalidCiphertextException") from None  # KMS sends no text


def _key_to_open_with(call: Call, blob: bytes, reference: str | None, algorithm: str) -> KmsKey:
    if reference is not None:
        return call.keys.find(reference)
    if algorithm != SYMMETRIC_DEFAULT:
        raise validation_fault("KeyId: required for an asymmetric ciphertext, which does not name its key")
    key_id = _named_key_id(blob)
    try:
        return call.keys.find(key_id)
    except KmsFault:
        text = (
            "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
            "or you are not allowed to access."
        )
        raise KmsFault("AccessDeniedException", text) from None


def _named_key_id(blob: bytes) -> str:
    try:
        return blob_key_id(blob)
    except CiphertextError:
        raise KmsFault("InvalidCiphertextException") from None


def _use_symmetric_key(call: Call) -> KmsKey:
    key = call.keys.find(call.params["KeyId"])
    call.use_key(key, context_field="EncryptionContext")
    if key.spec != SYMMETRIC_DEFAULT:
        text = f"{key.arn} key spec is {key.spec} which is not valid for {call.operation}."
        raise KmsFault("InvalidKeyUsageException", text)
    call.stop_if_dry_run()
    return key


def _check_algorithm(key: KmsKey, algorithm: str) -> None:
    if algorithm not in key.encryption_algorithms:
        text = f"Algorithm {algorithm} and key spec {key.spec} are incompatible with each other."
        raise KmsFault("InvalidKeyUsageException", text)


def _seal(key: KmsKey, plaintext: bytes, algorithm: str, encryption_context: Mapping[str, str]) -> bytes:
    try:
        return key.seal(plaintext, algorithm=algorithm, encryption_context=encryption_context)
    except ValueError:
        raise validation_fault(
            f"Plaintext: {len(plaintext)} bytes are too many for {algorithm} with a {key.spec} key"
        ) from None


def _new_private_key(
    pair_spec: str,
) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    if pair_spec in RSA_BITS:
        return rsa.generate_private_key(public_exponent=65_537, key_size=RSA_BITS[pair_spec])
    if pair_spec == "ECC_NIST_EDWARDS25519":
        return ed25519.Ed25519PrivateKey.generate()
    if pair_spec not in SIGNING_CURVES:
        raise KmsFault("UnsupportedOperationException", f"KeyPairSpec: {pair_spec} is not part of the simulator")
    return ec.generate_private_key(SIGNING_CURVES[pair_spec]())
