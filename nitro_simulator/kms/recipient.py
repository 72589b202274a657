"""The Recipient of a KMS request: verifies it as KMS does, and gives key policies its condition values (pure).

Source: KMS developer guide, "Cryptographic attestation support in AWS KMS" and "AWS KMS condition keys for Nitro
Enclaves". KMS's texts for rejected documents are not public; those here say which check failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from nitro_attestation.document.payload import AttestationDocument
from nitro_attestation.errors import AttestationError
from nitro_attestation.key_policy.context import attestation_context
from nitro_attestation.verification import verify_document
from nitro_simulator.errors import validation_fault
from vsock_wire.protocol.json_codec import JsonObject

RSA_KEY_BITS = (2048, 3072, 4096)
"""Sizes of RSA keys that KMS supports with RSAES_OAEP_SHA_256."""

SECRET_FIELDS = {
    "Decrypt": "Plaintext",
    "GenerateDataKey": "Plaintext",
    "GenerateDataKeyPair": "PrivateKeyPlaintext",
    "GenerateRandom": "Plaintext",
    "DeriveSharedSecret": "SharedSecret",
}
"""The operations that take a Recipient, and the response's field that CiphertextForRecipient replaces."""


@dataclass(frozen=True)
class VerifiedRecipient:
    """A Recipient with a verified document.

    Attributes:
        document: the document's fields.
        public_key: the key in it, to which responses are encrypted.
    """

    document: AttestationDocument
    public_key: RSAPublicKey

    @property
    def condition_context(self) -> dict[str, str]:
        """Its values for the condition keys of key policies."""
        return attestation_context(self.document.pcrs)


def verify_recipient(recipient: JsonObject, *, root_sha256: bytes, at: datetime) -> VerifiedRecipient:
    """Verify a request's Recipient: document, signature, chain, validity of the certificates now, and the key in it.

    It does not check the measurements, which the key policy does, nor the document's age beyond the validity of its
    certificates: KMS does not publish its limit.

    Args:
        recipient: the request's member, parsed.
        root_sha256: SHA-256 of the root certificate that documents must chain to.
        at: the current time.

    Raises:
        KmsFault: ValidationException.
    """
    if "KeyEncryptionAlgorithm" not in recipient or "AttestationDocument" not in recipient:
        # both are optional in the model; how KMS treats half a Recipient is not documented
        raise validation_fault("Recipient: expected KeyEncryptionAlgorithm and AttestationDocument")
    try:
        document = verify_document(
            recipient["AttestationDocument"], root=root_sha256, at=at, leeway=timedelta(0), allow_debug=True
        )
    except AttestationError as error:
        raise validation_fault(f"Recipient: {error}") from error
    return VerifiedRecipient(document, _public_key(document.public_key_der))


def _public_key(public_key_der: bytes | None) -> RSAPublicKey:
    if public_key_der is None:
        raise validation_fault("Recipient: attestation document: public_key: the document has none")
    try:
        key = serialization.load_der_public_key(public_key_der)
    except (ValueError, UnsupportedAlgorithm):
        raise validation_fault("Recipient: attestation document: public_key: not a SubjectPublicKeyInfo") from None
    if not isinstance(key, RSAPublicKey) or key.key_size not in RSA_KEY_BITS:
        sizes = ", ".join(map(str, RSA_KEY_BITS))
        raise validation_fault(f"Recipient: attestation document: public_key: expected RSA with {sizes} bits")
    return key
