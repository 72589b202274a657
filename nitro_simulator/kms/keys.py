"""KMS keys: their material, what it can do, and a store of keys and aliases."""

from __future__ import annotations

import re
import secrets
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from nitro_attestation.key_policy.model import KeyPolicy
from nitro_simulator.errors import CiphertextError, KmsFault
from nitro_simulator.kms.ciphertext_blob import MATERIAL_BYTES, blob_key_id, open_blob, seal_blob

SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT"
ENCRYPT_DECRYPT = "ENCRYPT_DECRYPT"
KEY_AGREEMENT = "KEY_AGREEMENT"
ECDH = "ECDH"

RSA_BITS = {"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096}
CURVES: dict[str, type[ec.EllipticCurve]] = {
    "ECC_NIST_P256": ec.SECP256R1,
    "ECC_NIST_P384": ec.SECP384R1,
    "ECC_NIST_P521": ec.SECP521R1,
}
"""Curves that KMS supports for KEY_AGREEMENT outside China."""
USAGES = dict.fromkeys((SYMMETRIC_DEFAULT, *RSA_BITS), ENCRYPT_DECRYPT) | dict.fromkeys(CURVES, KEY_AGREEMENT)
"""Supported key specs, each with its one supported key usage; KMS also has signing."""
_OAEP_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "RSAES_OAEP_SHA_1": hashes.SHA1,
    "RSAES_OAEP_SHA_256": hashes.SHA256,
}

Material: TypeAlias = bytes | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(eq=False)
class KmsKey:
    """One key. Its ``repr`` does not show its material.

    Attributes:
        key_id: a UUID.
        arn: its ARN.
        spec: AWS's KeySpec.
        material: 32 bytes, or a private key.
        policy: the key policy in force.
        policy_text: its JSON as written.
        description: free text.
        created_at: when it was created.
        is_enabled: a disabled key can only be described.
    """

    key_id: str
    arn: str
    spec: str
    material: Material = field(repr=False)
    policy: KeyPolicy = field(repr=False)
    policy_text: str = field(repr=False)
    description: str
    created_at: datetime
    is_enabled: bool = True

    @property
    def usage(self) -> str:
        """AWS's KeyUsage."""
        return USAGES[self.spec]

    @property
    def encryption_algorithms(self) -> tuple[str, ...]:
        """The algorithms that it can encrypt with, by AWS's names."""
        if self.spec == SYMMETRIC_DEFAULT:
            return (SYMMETRIC_DEFAULT,)
        return tuple(_OAEP_HASHES) if self.spec in RSA_BITS else ()

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
        return self.material.public_key().encrypt(plaintext, _oaep(algorithm))

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
            return self.material.decrypt(blob, _oaep(algorithm))
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

    def public_key_der(self) -> bytes | None:
        """Return the SubjectPublicKeyInfo of an asymmetric key, or None for a symmetric one."""
        if isinstance(self.material, bytes):
            return None
        return self.material.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )


class KeyStore:
    """All keys and aliases of one account in one region. Thread-safe."""

    def __init__(self, *, region: str, account_id: str, partition: str = "aws") -> None:
        self.region = region
        self.account_id = account_id
        self.partition = partition
        self._lock = threading.Lock()
        self._keys: dict[str, KmsKey] = {}
        self._aliases: dict[str, str] = {}

    def create(self, *, spec: str, policy: KeyPolicy, policy_text: str, description: str, now: datetime) -> KmsKey:
        """Create a new key.

        Args:
            spec: one of USAGES.
            policy: its key policy.
            policy_text: the JSON that ``policy`` was parsed from.
            description: free text.
            now: the current time.
        """
        key_id = str(uuid.uuid4())
        key = KmsKey(
            key_id, self.arn(f"key/{key_id}"), spec, _new_material(spec), policy, policy_text, description, now
        )
        with self._lock:
            self._keys[key_id] = key
        return key

    def create_alias(self, name: str, key: KmsKey) -> None:
        """Make ``name`` (``alias/...``) an alias of ``key``.

        Raises:
            KmsFault: AlreadyExistsException: it is already an alias.
        """
        with self._lock:
            if name in self._aliases:
                text = f"An alias with the name {self.arn(name)} already exists"
                raise KmsFault("AlreadyExistsException", text)
            self._aliases[name] = key.key_id

    def list_keys(self) -> list[KmsKey]:
        """Return all keys, oldest first."""
        with self._lock:
            return list(self._keys.values())

    def find(self, reference: str, *, with_aliases: bool = True) -> KmsKey:
        """Return the key that ``reference`` names.

        Args:
            reference: key id, key ARN, alias name or alias ARN.
            with_aliases: whether the operation accepts aliases.

        Raises:
            KmsFault: NotFoundException.
        """
        resource = self._resource(reference)
        with self._lock:
            if resource.startswith("alias/") and with_aliases:
                key_id = self._aliases.get(resource)
                if key_id is None:
                    raise KmsFault("NotFoundException", f"Alias {self.arn(resource)} is not found.")
                return self._keys[key_id]
            key = self._keys.get(resource.removeprefix("key/"))
        if key is not None and resource.startswith("key/"):
            return key
        if re.fullmatch(r"key/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", resource) is None:
            raise KmsFault("NotFoundException", f"Invalid keyId '{reference[:128]}'")
        raise KmsFault("NotFoundException", f"Key '{self.arn(resource)}' does not exist")

    def arn(self, resource: str) -> str:
        """Return the ARN of ``key/...`` or ``alias/...`` in this account and region."""
        return f"arn:{self.partition}:kms:{self.region}:{self.account_id}:{resource}"

    def _resource(self, reference: str) -> str:
        if not reference.startswith("arn:"):
            return reference if reference.startswith("alias/") else f"key/{reference}"
        parts = reference.split(":", 5)
        if len(parts) < 6 or parts[2] != "kms" or parts[3] != self.region:
            raise KmsFault("NotFoundException", f"Invalid arn {(parts + [''] * 4)[3][:64]}")
        if reference != self.arn(parts[5]):
            raise KmsFault("NotFoundException", f"Key '{reference[:256]}' does not exist")
        return parts[5]


def _new_material(spec: str) -> Material:
    if spec in RSA_BITS:
        return rsa.generate_private_key(public_exponent=65_537, key_size=RSA_BITS[spec])
    if spec in CURVES:
        return ec.generate_private_key(CURVES[spec]())
    if spec == SYMMETRIC_DEFAULT:
        return secrets.token_bytes(MATERIAL_BYTES)
    raise ValueError(f"unknown key spec {spec}")


def _oaep(algorithm: str) -> padding.OAEP:
    hash_type = _OAEP_HASHES[algorithm]
    return padding.OAEP(mgf=padding.MGF1(hash_type()), algorithm=hash_type(), label=None)
