"""The throwaway attestation PKI: modeled on AWS's, and renewed in time."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from nitro_attestation.document.chain import verify_chain
from nitro_simulator.nsm.authority import (
    AUTHORITY_LIFETIME,
    LEAF_LIFETIME,
    LEAF_RENEWAL_MARGIN,
    AttestationAuthority,
    Leaf,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
MODULE_ID = "i-0123456789abcdef0-enc0123456789abcde"


@pytest.fixture
def authority() -> AttestationAuthority:
    return AttestationAuthority.create(at=NOW)


def certificate(leaf: Leaf) -> x509.Certificate:
    return x509.load_der_x509_certificate(leaf.certificate_der)


def test_root_is_the_first_of_the_bundle(authority: AttestationAuthority) -> None:
    root = x509.load_pem_x509_certificate(authority.root_pem)
    assert root.public_bytes(Encoding.DER) == authority.cabundle_der[0]
    assert authority.root_sha256 == hashlib.sha256(authority.cabundle_der[0]).digest()
    assert root.issuer == root.subject


def test_bundle_has_the_path_lengths_of_aws(authority: AttestationAuthority) -> None:
    constraints = [
        x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.BasicConstraints)
        for der in authority.cabundle_der
    ]
    assert [constraint.value.path_length for constraint in constraints] == [None, 2, 1, 0]
    assert all(constraint.critical and constraint.value.ca for constraint in constraints)


def test_every_certificate_fits_a_document_and_is_of_p384_and_sha384(authority: AttestationAuthority) -> None:
    for der in (*authority.cabundle_der, authority.leaf_for(MODULE_ID, NOW).certificate_der):
        assert len(der) <= 1_024
        parsed = x509.load_der_x509_certificate(der)
        key = parsed.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp384r1"
        assert isinstance(parsed.signature_hash_algorithm, hashes.SHA384)


def test_leaf_looks_like_one_from_aws(authority: AttestationAuthority) -> None:
    leaf = certificate(authority.leaf_for(MODULE_ID, NOW))
    assert MODULE_ID in leaf.subject.rfc4514_string()
    assert leaf.not_valid_before_utc <= NOW
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(hours=3, seconds=3)
    assert {extension.oid for extension in leaf.extensions} == {x509.BasicConstraints.oid, x509.KeyUsage.oid}
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_leaf_of_a_long_module_id_has_a_name_cut_to_x509_s_limit(authority: AttestationAuthority) -> None:
    leaf = certificate(authority.leaf_for("i-" + "0" * 100, NOW))
    names = leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    assert [len(name.value) for name in names] == [64]


def test_leaf_stays_the_same_until_its_margin(authority: AttestationAuthority) -> None:
    first = authority.leaf_for(MODULE_ID, NOW)
    assert authority.leaf_for(MODULE_ID, first.not_after - LEAF_RENEWAL_MARGIN) is first
    assert authority.leaf_for(MODULE_ID, first.not_before) is first


@pytest.mark.parametrize("later", [LEAF_LIFETIME - LEAF_RENEWAL_MARGIN + timedelta(seconds=1), timedelta(days=30)])
def test_leaf_is_renewed_with_a_new_key_before_it_expires(authority: AttestationAuthority, later: timedelta) -> None:
    first = authority.leaf_for(MODULE_ID, NOW)
    second = authority.leaf_for(MODULE_ID, NOW + later)
    assert second.certificate_der != first.certificate_der
    assert second.private_key.public_key() != first.private_key.public_key()
    assert second.not_before <= NOW + later <= second.not_after - LEAF_RENEWAL_MARGIN


def test_leaf_is_renewed_when_the_clock_goes_back(authority: AttestationAuthority) -> None:
    first = authority.leaf_for(MODULE_ID, NOW + timedelta(days=1))
    second = authority.leaf_for(MODULE_ID, NOW)
    assert second is not first
    assert second.not_before <= NOW


def test_leaf_lifetime_can_be_chosen(authority: AttestationAuthority) -> None:
    short = AttestationAuthority.create(at=NOW, leaf_lifetime=timedelta(minutes=6)).leaf_for(MODULE_ID, NOW)
    assert short.not_after <= NOW + timedelta(minutes=6) < authority.leaf_for(MODULE_ID, NOW).not_after
    with pytest.raises(ValueError, match="leaf_lifetime: expected more than 0:05:00"):
        AttestationAuthority.create(leaf_lifetime=LEAF_RENEWAL_MARGIN)


def test_every_module_has_its_own_leaf(authority: AttestationAuthority) -> None:
    assert authority.leaf_for("i-1-enc1", NOW) is not authority.leaf_for("i-1-enc2", NOW)


def test_threads_that_ask_at_once_get_one_leaf(authority: AttestationAuthority) -> None:
    with ThreadPoolExecutor(8) as pool:
        leaves = set(pool.map(lambda _: id(authority.leaf_for(MODULE_ID, NOW)), range(32)))
    assert len(leaves) == 1


@pytest.mark.parametrize("at", [NOW, NOW + AUTHORITY_LIFETIME - LEAF_LIFETIME])
def test_chain_verifies_for_the_authority_s_lifetime(authority: AttestationAuthority, at: datetime) -> None:
    leaf = authority.leaf_for(MODULE_ID, at)
    key = verify_chain(leaf.certificate_der, authority.cabundle_der, root_sha256=authority.root_sha256, at=at)
    assert key == leaf.private_key.public_key()


def test_authorities_share_no_root() -> None:
    assert AttestationAuthority.create().root_sha256 != AttestationAuthority.create().root_sha256


def test_authority_made_without_a_time_is_valid_now() -> None:
    authority, now = AttestationAuthority.create(), datetime.now(UTC)
    leaf = authority.leaf_for(MODULE_ID, now)
    verify_chain(leaf.certificate_der, authority.cabundle_der, root_sha256=authority.root_sha256, at=now)


def test_leaf_signs_a_cose_sign1_of_rfc_9052(authority: AttestationAuthority) -> None:
    leaf = authority.leaf_for(MODULE_ID, NOW)
    protected, unprotected, payload, signature = cbor2.loads(leaf.sign(b"payload"))
    assert (protected.hex(), unprotected, payload, len(signature)) == ("a1013822", {}, b"payload", 96)
    r, s = int.from_bytes(signature[:48], "big"), int.from_bytes(signature[48:], "big")
    # the Sig_structure written out: an array of 4, "Signature1", the protected header, no external data, the payload
    signed = b"\x84\x6aSignature1" + b"\x44" + protected + b"\x40" + b"\x47payload"
    leaf.private_key.public_key().verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))


def test_leaf_shows_no_key(authority: AttestationAuthority) -> None:
    assert "private_key" not in repr(authority.leaf_for(MODULE_ID, NOW))
