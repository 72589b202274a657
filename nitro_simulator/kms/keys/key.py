"""One KMS key: its material, what it can do, and its state."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from nitro_attestation.key_policy.model import KeyPolicy
from nitro_simulator.errors import CiphertextError
from nitro_simulator.kms.access.grants import Grants
from nitro_simulator.kms.keys.ciphertext_blob import blob_key_id, open_blob, seal_blob
from nitro_simulator.kms.keys.specs import (
    ENCRYPT_DECRYPT,
    SIGN_VERIFY,
    SYMMETRIC_DEFAULT,
    Material,
    encryption_algorithms,
    oaep,
    parse_signing_algorithm,
    signing_algorithms,
)


class KeyState(enum.StrEnum):
    """AWS's KeyState. All but ENABLED make KMS refuse to use the key."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_DELETION = "PendingDeletion"
    PENDING_IMPORT = "PendingImport"
    UNAVAILABLE = "Unavailable"
    """The custom key store is disconnected."""


@dataclass(eq=False)
class KeyFamily:
    """The related keys of one multi-Region key, which share id and material.

    Attributes:
        primary: the key that replicas are made of.
        replicas: one in each of some other regions.
    """

    primary: KmsKey
    replicas: list[KmsKey] = field(default_factory=list)


@dataclass(eq=False)
class KmsKey:
    """One key. Its ``repr`` does not show its material.

    Attributes:
        key_id: a UUID, or ``mrk-`` and 32 digits for a multi-Region key.
        arn: its ARN.
        spec: AWS's KeySpec.
        usage: AWS's KeyUsage.
        material: 32 bytes, or a private key.
        policy: the key policy in force.
        policy_text: its JSON as written.
        description: free text.
        created_at: when it was created.
        state: AWS's KeyState; change it at any time. Only an enabled key can be used.
        deletion_at: when a key that is pending deletion will be gone.
        grants: its grants.
        family: its related keys in other regions, or None unless it is a multi-Region key.
    """

    key_id: str
    arn: str
    spec: str
    usage: str
    material: Material = field(repr=False)
    policy: KeyPolicy = field(repr=False)
    policy_text: str = field(repr=False)
    description: str
    created_at: datetime
    state: KeyState = KeyState.ENABLED
    deletion_at: datetime | None = None
    grants: Grants = field(default_factory=Grants, repr=False)
    family: KeyFamily | None = field(default=None, repr=False)

    @property
    def region(self) -> str:
        """The region that it is in."""
        return self.arn.split(":")[3]

    @property
    def encryption_algorithms(self) -> tuple[str, ...]:
        """The algorithms that it can encrypt with, by AWS's names."""
        return encryption_algorithms(self.spec) if self.usage == ENCRYPT_DECRYPT else ()

    @property
    def signing_algorithms(self) -> tuple[str, ...]:
        """The algorithms that it can sign with, by AWS's names."""
        return signing_algorithms(self.spec) if self.usage == SIGN_VERIFY else ()

    def seal(
        self,
        plaintext: bytes,
        *,
        algorithm: str = SYMMETRIC_DEFAULT,
        encryption_context: Mapping[str, str] | None = None,
        blob_bytes: int | None = None,
    ) -> bytes:
        """Encrypt ``plaintext`` and return the ciphertext blob; does not check policy or limits.

        Args:
            plaintext: at most as long as the algorithm allows.
            algorithm: one of ``encryption_algorithms``.
            encryption_context: for SYMMETRIC_DEFAULT only.
            blob_bytes: exact size of the blob, for SYMMETRIC_DEFAULT only; KMS accepts at most 6,144.

        Raises:
            ValueError: the plaintext is too long for the algorithm, or the size cannot be reached.
        """
        if isinstance(self.material, bytes):
            return seal_blob(
                plaintext,
                key_id=self.key_id,
                material=self.material,
                encryption_context=encryption_context or {},
                blob_bytes=blob_bytes,
            )
        if not isinstance(self.material, rsa.RSAPrivateKey):
            raise TypeError(f"a {self.spec} key does not encrypt")
        return self.material.public_key().encrypt(plaintext, oaep(algorithm))

    def open(self, blob: bytes, *, algorithm: str, encryption_context: Mapping[str, str]) -> bytes:
        """Return the plaintext of a ciphertext blob; does not check policy.

        Args:
            blob: for a symmetric key, one that names this key.
            algorithm: one of ``encryption_algorithms``.
            encryption_context: equal to the one at encryption; empty for RSA.

        Raises:
            CiphertextError: it cannot be decrypted.
        """
        if isinstance(self.material, bytes):
            if blob_key_id(blob) != self.key_id:
                raise CiphertextError("ciphertext blob: names another key")
            return open_blob(blob, material=self.material, encryption_context=encryption_context)
        if not isinstance(self.material, rsa.RSAPrivateKey):
            raise TypeError(f"a {self.spec} key does not decrypt")
        try:
            return self.material.decrypt(blob, oaep(algorithm))
        except ValueError:
            raise CiphertextError("ciphertext: does not open with this key and algorithm") from None

    def derive(self, public_key_der: bytes) -> bytes:
        """Return the ECDH shared secret with a peer: the x coordinate, as long as the curve's field.

        Args:
            public_key_der: the peer's SubjectPublicKeyInfo.

        Raises:
            ValueError: it is not a public key on this key's curve.
        """
        if not isinstance(self.material, ec.EllipticCurvePrivateKey):
            raise TypeError(f"a {self.spec} key does not support key agreement")
        peer = serialization.load_der_public_key(public_key_der)
        if not isinstance(peer, ec.EllipticCurvePublicKey) or peer.curve.name != self.material.curve.name:
            raise ValueError(f"public key: not on the curve of {self.spec}")
        return self.material.exchange(ec.ECDH(), peer)

    def sign(self, message: bytes, *, algorithm: str, is_digest: bool = False) -> bytes:
        """Return a signature: of an elliptic curve in DER.

        Args:
            message: what to sign, or its digest.
            algorithm: one of ``signing_algorithms``.
            is_digest: whether ``message`` is the digest.

        Raises:
            ValueError: the digest has the wrong size.
        """
        scheme = parse_signing_algorithm(algorithm)
        chosen = Prehashed(scheme.hash_type()) if is_digest else scheme.hash_type()
        if isinstance(self.material, rsa.RSAPrivateKey):
            return self.material.sign(message, scheme.padding, chosen)
        if isinstance(self.material, ec.EllipticCurvePrivateKey):
            return self.material.sign(message, ec.ECDSA(chosen))
        raise TypeError(f"a {self.spec} key does not sign")

    def is_signature(self, signature: bytes, message: bytes, *, algorithm: str, is_digest: bool = False) -> bool:
        """Return whether this key made a signature; the arguments are those of ``sign``.

        Raises:
            ValueError: the digest has the wrong size.
        """
        scheme = parse_signing_algorithm(algorithm)
        chosen = Prehashed(scheme.hash_type()) if is_digest else scheme.hash_type()
        try:
            if isinstance(self.material, rsa.RSAPrivateKey):
                self.material.public_key().verify(signature, message, scheme.padding, chosen)
            elif isinstance(self.material, ec.EllipticCurvePrivateKey):
                self.material.public_key().verify(signature, message, ec.ECDSA(chosen))
            else:
                raise TypeError(f"a {self.spec} key does not sign")
        except InvalidSignature:
            return False
        return True

    def public_key_der(self) -> bytes | None:
        """Return the SubjectPublicKeyInfo of an asymmetric key, or None for a symmetric one."""
        if isinstance(self.material, bytes):
            return None
        return self.material.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
