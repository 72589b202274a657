"""KMS operations that sign and verify. Each takes a call and returns the response's fields. None takes a Recipient."""

from __future__ import annotations

from nitro_simulator.errors import KmsFault, validation_fault
from nitro_simulator.kms.call import Call
from nitro_simulator.kms.keys.key import KmsKey
from nitro_simulator.kms.keys.specs import SIGN_VERIFY
from vsock_wire.protocol.json_codec import JsonObject

DIGEST = "DIGEST"
RAW = "RAW"


def sign(call: Call) -> JsonObject:
    """Sign."""
    key, algorithm, is_digest = _use_signing_key(call)
    call.stop_if_dry_run()
    try:
        signature = key.sign(call.params["Message"], algorithm=algorithm, is_digest=is_digest)
    except ValueError:
        raise _wrong_digest(algorithm) from None
    return {"KeyId": key.arn, "Signature": signature, "SigningAlgorithm": algorithm}


def verify(call: Call) -> JsonObject:
    """Verify: an error if the signature is not the key's."""
    key, algorithm, is_digest = _use_signing_key(call)
    call.stop_if_dry_run()
    signature, message = call.params["Signature"], call.params["Message"]
    try:
        is_valid = key.is_signature(signature, message, algorithm=algorithm, is_digest=is_digest)
    except ValueError:
        raise _wrong_digest(algorithm) from None
    if not is_valid:
        raise KmsFault("KMSInvalidSignatureException")
    return {"KeyId": key.arn, "SignatureValid": True, "SigningAlgorithm": algorithm}


def _use_signing_key(call: Call) -> tuple[KmsKey, str, bool]:
    """Return the key, the algorithm, and whether the message is a digest, after all checks."""
    key = call.keys.find(call.params["KeyId"])
    call.use_key(key, usage=SIGN_VERIFY)
    algorithm = call.params["SigningAlgorithm"]
    if algorithm not in key.signing_algorithms:
        text = f"Algorithm {algorithm} and key spec {key.spec} are incompatible with each other."
        raise KmsFault("InvalidKeyUsageException", text)
    message_type = call.params.get("MessageType", RAW)
    if message_type not in (RAW, DIGEST):
        raise validation_fault(f"MessageType: {message_type} is not part of the simulator")
    return key, algorithm, message_type == DIGEST


def _wrong_digest(algorithm: str) -> KmsFault:
    return validation_fault(f"Digest is invalid length for algorithm {algorithm}.")
