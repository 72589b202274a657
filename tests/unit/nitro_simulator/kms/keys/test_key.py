from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from nitro_attestation.key_policy.model import default_policy
from nitro_attestation.key_policy.parsing import parse_policy
from nitro_simulator.errors import CiphertextError, KmsFault
from nitro_simulator.kms.keys.key import KmsKey
from nitro_simulator.kms.keys.specs import CURVES, SYMMETRIC_DEFAULT, USAGES
from nitro_simulator.kms.keys.store import KeyStore
from tests.support.kms.world import ACCOUNT_ID

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def _create(store: KeyStore, spec: str = SYMMETRIC_DEFAULT, usage: str | None = None) -> KmsKey:
    text = default_policy(ACCOUNT_ID)
    usage = usage or USAGES[spec][0]
    return store.create(spec=spec, usage=usage, policy=parse_policy(text), policy_text=text, description="", now=NOW)


@pytest.fixture
def store() -> KeyStore:
    return KeyStore(region="eu-west-1", account_id=ACCOUNT_ID)


def test_key_is_found_by_id_arn_and_alias(store: KeyStore) -> None:
    key = _create(store)
    store.create_alias("alias/app/secret", key)

    assert key.arn == f"arn:aws:kms:eu-west-1:{ACCOUNT_ID}:key/{key.key_id}"
    for reference in (key.key_id, key.arn, "alias/app/secret", f"arn:aws:kms:eu-west-1:{ACCOUNT_ID}:alias/app/secret"):
        assert store.find(reference) is key


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "00000000-0000-0000-0000-000000000000",
            "Key 'arn:aws:kms:eu-west-1:111122223333:key/00000000-0000-0000-0000-000000000000' does not exist",
        ),
        (
            "arn:aws:kms:eu-west-1:111122223333:key/00000000-0000-0000-0000-000000000000",
            "Key 'arn:aws:kms:eu-west-1:111122223333:key/00000000-0000-0000-0000-000000000000' does not exist",
        ),
        (
            "arn:aws:kms:eu-west-1:444455556666:key/00000000-0000-0000-0000-000000000000",
            "Key 'arn:aws:kms:eu-west-1:444455556666:key/00000000-0000-0000-0000-000000000000' does not exist",
        ),
        ("alias/none", "Alias arn:aws:kms:eu-west-1:111122223333:alias/none is not found."),
        ("my-key", "Invalid keyId 'my-key'"),
        ("key/x", "Invalid keyId 'key/x'"),
        ("arn:aws:kms:us-east-1:111122223333:key/00000000-0000-0000-0000-000000000000", "Invalid arn us-east-1"),
        ("arn:aws:s3:eu-west-1", "Invalid arn eu-west-1"),
        ("arn:", "Invalid arn "),
    ],
)
def test_unknown_reference_is_not_found_in_kms_words(store: KeyStore, reference: str, message: str) -> None:
    with pytest.raises(KmsFault) as fault:
        store.find(reference)

    assert (fault.value.code, fault.value.message, fault.value.http_status) == ("NotFoundException", message, 400)


def test_alias_is_refused_if_the_operation_does_not_accept_aliases(store: KeyStore) -> None:
    store.create_alias("alias/app", _create(store))

    with pytest.raises(KmsFault, match="Invalid keyId 'alias/app'"):
        store.find("alias/app", with_aliases=False)


def test_alias_cannot_be_created_twice(store: KeyStore) -> None:
    store.create_alias("alias/app", _create(store))

    with pytest.raises(KmsFault) as fault:
        store.create_alias("alias/app", _create(store))
    assert fault.value.code == "AlreadyExistsException"


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"])
def test_rsa_key_decrypts_only_with_the_algorithm_that_encrypted(store: KeyStore, algorithm: str) -> None:
    key = _create(store, "RSA_2048")
    blob = key.seal(b"secret", algorithm=algorithm)

    assert key.open(blob, algorithm=algorithm, encryption_context={}) == b"secret"
    (other,) = set(key.encryption_algorithms) - {algorithm}
    with pytest.raises(CiphertextError):
        key.open(blob, algorithm=other, encryption_context={})


def test_symmetric_key_does_not_decrypt_blob_of_another(store: KeyStore) -> None:
    with pytest.raises(CiphertextError):
        _create(store).open(_create(store).seal(b"x"), algorithm=SYMMETRIC_DEFAULT, encryption_context={})


@pytest.mark.parametrize("spec", CURVES)
def test_derived_secret_equals_the_peers(store: KeyStore, spec: str) -> None:
    key, peer = _create(store, spec), ec.generate_private_key(CURVES[spec]())
    public_key_der = key.public_key_der()
    assert public_key_der is not None
    public_key = serialization.load_der_public_key(public_key_der)
    assert isinstance(public_key, ec.EllipticCurvePublicKey)

    assert key.derive(_der(peer.public_key())) == peer.exchange(ec.ECDH(), public_key)


def test_derive_refuses_other_curve_other_kind_and_other_bytes(store: KeyStore) -> None:
    key = _create(store, "ECC_NIST_P256")
    others: list[ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = [
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(public_exponent=65_537, key_size=2048),
    ]

    for public_key_der in [*(_der(other.public_key()) for other in others), b"no key"]:
        with pytest.raises(ValueError):  # noqa: PT011 - some texts come from cryptography
            key.derive(public_key_der)


def test_key_does_only_what_its_usage_says(store: KeyStore) -> None:
    for usage, encrypts, signs in (("ENCRYPT_DECRYPT", 2, 0), ("SIGN_VERIFY", 0, 6)):
        key = _create(store, "RSA_2048", usage)
        assert (len(key.encryption_algorithms), len(key.signing_algorithms)) == (encrypts, signs)
    agreeing = _create(store, "ECC_NIST_P256")
    assert (agreeing.usage, agreeing.encryption_algorithms, agreeing.signing_algorithms) == ("KEY_AGREEMENT", (), ())
    with pytest.raises(TypeError):
        _create(store).sign(b"x", algorithm="ECDSA_SHA_256")
    with pytest.raises(TypeError):
        _create(store).is_signature(b"x", b"x", algorithm="ECDSA_SHA_256")


def test_key_is_forgotten_with_its_aliases_when_its_time_is_over(store: KeyStore) -> None:
    key, other = _create(store), _create(store)
    store.create_alias("alias/a", key)
    store.create_alias("alias/b", other)
    key.deletion_at = NOW
    store.remove_deleted(NOW - timedelta(seconds=1))
    assert store.find("alias/a") is key
    store.remove_deleted(NOW)
    assert store.list_keys() == [other]
    assert store.find("alias/b") is other
    with pytest.raises(KmsFault, match="is not found"):
        store.find("alias/a")


def test_repr_of_a_key_shows_no_material(store: KeyStore) -> None:
    key = _create(store)

    assert isinstance(key.material, bytes)
    assert repr(key.material) not in repr(key)
    assert "material" not in repr(key)


def test_key_refuses_what_its_kind_cannot_do(store: KeyStore) -> None:
    with pytest.raises(TypeError):
        _create(store, "ECC_NIST_P256").seal(b"x")
    with pytest.raises(TypeError):
        _create(store, "ECC_NIST_P256").open(b"x", algorithm=SYMMETRIC_DEFAULT, encryption_context={})
    with pytest.raises(TypeError):
        _create(store).derive(b"x")
    assert _create(store).public_key_der() is None


def _der(public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    return public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
