"""Chains of certificates with one fault each, from a root that is pinned."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from nitro_attestation.document.chain import MAX_CABUNDLE_CERTIFICATES, verify_chain
from nitro_attestation.errors import AttestationError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DAY = timedelta(days=1)

Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
P256_KEY, RSA_KEY = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65_537, 2_048)


@dataclass(frozen=True)
class Spec:
    """One certificate to be made; by default what its place in a good chain asks for."""

    name: str
    ca: bool | None = True  # None: no basicConstraints
    path_length: int | None = None
    usages: frozenset[str] | None = frozenset({"key_cert_sign"})  # None: no keyUsage
    not_before: datetime = NOW - DAY
    not_after: datetime = NOW + DAY
    hash: hashes.HashAlgorithm = field(default_factory=hashes.SHA384)
    critical: bool = True
    issuer: str | None = None
    serial: int = 7
    unknown_extension: bool | None = None  # its criticality
    key: Key = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))


ROOT, REGION, ZONE = Spec("root"), Spec("region", path_length=1), Spec("zone", path_length=0)
LEAF = Spec("leaf", ca=False, usages=frozenset({"digital_signature"}))
GOOD = (ROOT, REGION, ZONE, LEAF)


def build(*specs: Spec, signers: dict[int, Key] | None = None) -> list[bytes]:
    """Return the certificates in DER, each signed by the one before it, but for those with a signer of their own."""
    chain = []
    for i, spec in enumerate(specs):
        above = specs[max(i - 1, 0)]
        signer = (signers or {}).get(i, above.key)
        chain.append(_certificate(spec, above.name, signer).public_bytes(Encoding.DER))
    return chain


def _certificate(spec: Spec, issuer: str, signer: Key) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(spec.name))
        .issuer_name(_name(spec.issuer or issuer))
        .public_key(spec.key.public_key())
        .serial_number(spec.serial)
        .not_valid_before(spec.not_before)
        .not_valid_after(spec.not_after)
    )
    if spec.ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(spec.ca, spec.path_length), critical=spec.critical)
    if spec.usages is not None:
        builder = builder.add_extension(_usage(spec.usages), critical=spec.ca is True)
    if spec.unknown_extension is not None:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=spec.unknown_extension)
    return builder.sign(signer, spec.hash)  # type: ignore[arg-type]


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(names: frozenset[str]) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in names for name in every})


def verify(chain: list[bytes], *, at: datetime = NOW) -> ec.EllipticCurvePublicKey:
    *cabundle, leaf = chain
    return verify_chain(leaf, tuple(cabundle), root_sha256=hashlib.sha256(cabundle[0]).digest(), at=at)


def refusal(chain: list[bytes], *, at: datetime = NOW) -> AttestationError:
    with pytest.raises(AttestationError) as caught:
        verify(chain, at=at)
    return caught.value


def test_good_chain_gives_the_leaf_s_key() -> None:
    assert verify(build(*GOOD)) == LEAF.key.public_key()


def test_leaf_directly_under_the_root_is_taken() -> None:
    assert verify(build(ROOT, LEAF)) == LEAF.key.public_key()


def test_leaf_without_basic_constraints_is_taken() -> None:
    assert verify(build(*GOOD[:3], replace(LEAF, ca=None))) == LEAF.key.public_key()


def test_unknown_extension_that_is_not_critical_is_taken() -> None:
    verify(build(*GOOD[:3], replace(LEAF, unknown_extension=False)))


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda spec: replace(spec, not_after=NOW - timedelta(seconds=1)), "expected a certificate valid at"),
        (lambda spec: replace(spec, not_before=NOW + timedelta(seconds=1)), "expected a certificate valid at"),
        (lambda spec: replace(spec, key=P256_KEY), "the key is not on the curve P-384"),
        (lambda spec: replace(spec, key=RSA_KEY), "the key is not on the curve P-384"),
        (lambda spec: replace(spec, hash=hashes.SHA256()), "expected a signature with ecdsa-with-SHA384"),
        (lambda spec: replace(spec, hash=hashes.SHA512()), "expected a signature with ecdsa-with-SHA384"),
        (lambda spec: replace(spec, usages=None), "(keyUsage)"),
        (lambda spec: replace(spec, usages=frozenset({"crl_sign"})), "(keyUsage)"),
        (lambda spec: replace(spec, ca=not spec.ca, path_length=None), "(basicConstraints)"),
    ],
)
def test_fault_in_one_certificate_is_refused_by_its_name(
    position: int, change: Callable[[Spec], Spec], reason: str
) -> None:
    specs = list(GOOD)
    specs[position] = change(specs[position])
    error = refusal(build(*specs))
    assert error.field == ("certificate" if position == 3 else f"cabundle[{position}]")
    assert reason in error.reason


@pytest.mark.parametrize("position", [0, 1, 2])
def test_authority_without_basic_constraints_is_refused(position: int) -> None:
    specs = list(GOOD)
    specs[position] = replace(specs[position], ca=None)
    assert refusal(build(*specs)).field == f"cabundle[{position}]"


def test_leaf_that_may_also_sign_certificates_is_refused() -> None:
    leaf = replace(LEAF, usages=frozenset({"digital_signature", "key_cert_sign"}))
    assert refusal(build(*GOOD[:3], leaf)).reason.endswith("(keyUsage)")


@pytest.mark.parametrize("position", [1, 2])
def test_authority_with_basic_constraints_not_critical_is_refused(position: int) -> None:
    specs = list(GOOD)
    specs[position] = replace(specs[position], critical=False)
    assert refusal(build(*specs)).field == "cabundle"


@pytest.mark.parametrize("position", [1, 2, 3])
def test_unknown_critical_extension_is_refused(position: int) -> None:
    specs = list(GOOD)
    specs[position] = replace(specs[position], unknown_extension=True)
    error = refusal(build(*specs))
    assert error.field == "cabundle"
    assert "critical extensions" in error.reason


def test_path_longer_than_an_authority_allows_is_refused() -> None:
    error = refusal(build(ROOT, replace(REGION, path_length=0), ZONE, LEAF))
    assert error.field == "cabundle"
    assert "path length" in error.reason


@pytest.mark.parametrize(("position", "field_name"), [(1, "cabundle"), (2, "cabundle"), (3, "cabundle")])
def test_signature_of_another_key_is_refused(position: int, field_name: str) -> None:
    error = refusal(build(*GOOD, signers={position: ec.generate_private_key(ec.SECP384R1())}))
    assert error.field == field_name
    assert "no valid path from the root to the certificate" in error.reason


def test_signature_of_a_p256_key_is_refused_under_a_p384_issuer() -> None:
    assert refusal(build(*GOOD, signers={3: P256_KEY})).field == "cabundle"


def test_signature_of_an_rsa_key_is_refused() -> None:
    assert "expected a signature with ecdsa-with-SHA384" in refusal(build(*GOOD, signers={3: RSA_KEY})).reason


def test_issuer_of_another_name_is_refused_naming_the_certificate() -> None:
    assert refusal(build(*GOOD[:3], replace(LEAF, issuer="someone else"))).field == "certificate"
    assert refusal(build(ROOT, replace(REGION, issuer="someone else"), ZONE, LEAF)).field == "cabundle[1]"


def test_certificates_in_another_order_are_refused() -> None:
    root, region, zone, leaf = build(*GOOD)
    assert refusal([root, zone, region, leaf]).field == "cabundle[1]"
    assert refusal([zone, region, root, leaf]).field == "cabundle[1]"
    assert refusal([root, region, leaf, zone]).field == "cabundle[2]"


def test_missing_certificate_is_refused() -> None:
    root, region, zone, leaf = build(*GOOD)
    assert refusal([root, zone, leaf]).field == "cabundle[1]"
    assert refusal([root, region, leaf]).field == "certificate"


@pytest.mark.parametrize("position", [0, 1, 2])
def test_certificate_given_twice_is_refused(position: int) -> None:
    chain = build(*GOOD)
    chain.insert(position, chain[position])
    assert refusal(chain).field.startswith("cabundle")


def test_certificate_that_only_fits_by_name_is_refused() -> None:
    root, region, zone, leaf = build(*GOOD)
    namesake = build(ROOT, replace(REGION, issuer="region", key=ec.generate_private_key(ec.SECP384R1())))[1]
    assert refusal([root, region, namesake, zone, leaf]).field == "cabundle"


def test_another_root_is_refused_before_anything_is_parsed() -> None:
    with pytest.raises(AttestationError, match="expected the root certificate with SHA-256 0000") as caught:
        verify_chain(b"none", (b"none",), root_sha256=bytes(32), at=NOW)
    assert caught.value.field == "cabundle[0]"
    assert hashlib.sha256(b"none").hexdigest() in caught.value.reason
    assert caught.value.hint is not None


def test_cabundle_over_the_limit_is_refused() -> None:
    root = build(ROOT)[0]
    error = refusal([root] * (MAX_CABUNDLE_CERTIFICATES + 1) + [b"leaf"])
    assert error.reason == f"expected at most {MAX_CABUNDLE_CERTIFICATES} certificates, got 9"


def test_chain_at_the_limit_is_taken() -> None:
    authorities = [Spec(f"authority {i}") for i in range(MAX_CABUNDLE_CERTIFICATES)]
    verify(build(*authorities, LEAF))


@pytest.mark.parametrize("position", range(4))
def test_truncated_certificate_or_trailing_bytes_are_refused_naming_the_certificate(position: int) -> None:
    field_name = "certificate" if position == 3 else f"cabundle[{position}]"
    chain = build(*GOOD)
    der = chain[position]
    for changed in (der[:-1], der + b"\0", b""):
        chain[position] = changed
        error = refusal(chain)
        assert (error.field, error.reason) == (field_name, "not an X.509 certificate in DER")


@pytest.mark.parametrize("old", [b"\x02\x01\x07", b"\xa0\x03\x02\x01\x02"])
def test_certificate_with_a_serial_number_or_version_of_zero_or_less_is_refused(old: bytes) -> None:
    chain = build(*GOOD)
    assert old in chain[3]
    chain[3] = chain[3].replace(old, old[:-1] + b"\x80", 1)
    assert refusal(chain).field == "certificate"


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("serial", [b"\x00", b"\x80"])
def test_serial_number_that_is_not_positive_is_refused_where_the_library_only_warns(serial: bytes) -> None:
    chain = build(*GOOD)
    chain[2] = chain[2].replace(b"\x02\x01\x07", b"\x02\x01" + serial, 1)
    error = refusal(chain)
    assert error.field == "cabundle[2]"
    assert "serial number is not positive" in error.reason


CHAIN = build(*GOOD)


@settings(deadline=None, max_examples=300)
@given(
    st.integers(0, len(CHAIN) - 1),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 3),
    st.binary(min_size=0, max_size=3),
)
def test_any_change_to_a_certificate_raises_only_attestation_errors(
    position: int, where: float, removed: int, inserted: bytes
) -> None:
    chain = list(CHAIN)
    start = int(where * len(chain[position]))
    chain[position] = chain[position][:start] + inserted + chain[position][start + removed :]
    with contextlib.suppress(AttestationError):
        verify(chain)
        assert position == 0 or chain == CHAIN  # the root's own signature is not asked for: its hash is pinned
