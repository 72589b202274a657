"""The kinds of KMS keys, by AWS's KeySpec: their usages, their algorithms, and new material for them.

Source: KMS developer guide, "Key spec reference" and "Selecting the key spec". KMS has further kinds.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TypeAlias

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from nitro_simulator.kms.keys.ciphertext_blob import MATERIAL_BYTES

SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT"
ENCRYPT_DECRYPT = "ENCRYPT_DECRYPT"
SIGN_VERIFY = "SIGN_VERIFY"
KEY_AGREEMENT = "KEY_AGREEMENT"
ECDH = "ECDH"

RSA_BITS = {"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096}
CURVES: dict[str, type[ec.EllipticCurve]] = {
    "ECC_NIST_P256": ec.SECP256R1,
    "ECC_NIST_P384": ec.SECP384R1,
    "ECC_NIST_P521": ec.SECP521R1,
}
"""Curves that KMS supports for KEY_AGREEMENT outside China."""
SECG_CURVE = "ECC_SECG_P256K1"
SIGNING_CURVES: dict[str, type[ec.EllipticCurve]] = {**CURVES, SECG_CURVE: ec.SECP256K1}
USAGES: dict[str, tuple[str, ...]] = {
    SYMMETRIC_DEFAULT: (ENCRYPT_DECRYPT,),
    **dict.fromkeys(RSA_BITS, (ENCRYPT_DECRYPT, SIGN_VERIFY)),
    **dict.fromkeys(CURVES, (KEY_AGREEMENT, SIGN_VERIFY)),
    SECG_CURVE: (SIGN_VERIFY,),
}
"""Supported key specs, each with its key usages; the first is the default of ``SimulatedKms.create_key``."""

Hash: TypeAlias = type[hashes.HashAlgorithm]
OAEP_HASHES: dict[str, Hash] = {"RSAES_OAEP_SHA_1": hashes.SHA1, "RSAES_OAEP_SHA_256": hashes.SHA256}
_HASHES: dict[str, Hash] = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
_ECDSA = {
    "ECC_NIST_P256": "ECDSA_SHA_256",
    "ECC_NIST_P384": "ECDSA_SHA_384",
    "ECC_NIST_P521": "ECDSA_SHA_512",
    SECG_CURVE: "ECDSA_SHA_256",
}

Material: TypeAlias = bytes | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class SigningAlgorithm:
    """An algorithm of Sign and Verify.

    Attributes:
        name: AWS's name of it.
        hash_type: the hash of the message.
        is_pss: for RSA, whether the padding is PSS, with a salt as long as the hash, instead of PKCS #1 v1.5.
    """

    name: str
    hash_type: Hash
    is_pss: bool

    @property
    def padding(self) -> padding.AsymmetricPadding:
        """The padding of RSA."""
        if not self.is_pss:
            return padding.PKCS1v15()
        return padding.PSS(mgf=padding.MGF1(self.hash_type()), salt_length=padding.PSS.DIGEST_LENGTH)


def parse_signing_algorithm(name: str) -> SigningAlgorithm:
    """Return the algorithm with AWS's name, one of ``signing_algorithms``."""
    return SigningAlgorithm(name, _HASHES[name.rpartition("_")[2]], name.startswith("RSASSA_PSS"))


def encryption_algorithms(spec: str) -> tuple[str, ...]:
    """Return the algorithms that a key with the usage ENCRYPT_DECRYPT can encrypt with, by AWS's names."""
    return (SYMMETRIC_DEFAULT,) if spec == SYMMETRIC_DEFAULT else tuple(OAEP_HASHES)


def signing_algorithms(spec: str) -> tuple[str, ...]:
    """Return the algorithms that a key with the usage SIGN_VERIFY can sign with, by AWS's names."""
    if spec in _ECDSA:
        return (_ECDSA[spec],)
    return tuple(f"RSASSA_{scheme}_SHA_{bits}" for scheme in ("PKCS1_V1_5", "PSS") for bits in _HASHES)


def new_material(spec: str) -> Material:
    """Return new key material for one of USAGES."""
    if spec in RSA_BITS:
        return rsa.generate_private_key(public_exponent=65_537, key_size=RSA_BITS[spec])
    if spec in SIGNING_CURVES:
        return ec.generate_private_key(SIGNING_CURVES[spec]())
    if spec == SYMMETRIC_DEFAULT:
        return secrets.token_bytes(MATERIAL_BYTES)
    raise ValueError(f"unknown key spec {spec}")


def oaep(algorithm: str) -> padding.OAEP:
    """Return the padding of one of OAEP_HASHES."""
    hash_type = OAEP_HASHES[algorithm]
    return padding.OAEP(mgf=padding.MGF1(hash_type()), algorithm=hash_type(), label=None)
