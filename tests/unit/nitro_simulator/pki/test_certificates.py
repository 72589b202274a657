from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from nitro_simulator.pki.certificates import certificate_builder, distinguished_name, key_usage

USAGES = ("digital_signature", "content_commitment", "key_cert_sign", "crl_sign")
MIDNIGHT = datetime(2025, 1, 1, tzinfo=UTC)


def test_certificate_has_the_given_fields_and_no_extension() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = certificate_builder(
        subject=distinguished_name("subject"),
        issuer=distinguished_name("issuer", organization="organization"),
        public_key=key.public_key(),
        not_before=MIDNIGHT,
        not_after=MIDNIGHT + timedelta(days=1),
    )
    certificate = builder.sign(key, hashes.SHA256())
    assert certificate.subject.rfc4514_string() == "CN=subject"
    assert certificate.issuer.rfc4514_string() == "CN=issuer,O=organization"
    assert certificate.public_key() == key.public_key()
    assert (certificate.not_valid_before_utc, certificate.not_valid_after_utc) == (
        MIDNIGHT,
        MIDNIGHT + timedelta(days=1),
    )
    assert list(certificate.extensions) == []


def test_common_name_is_cut_to_what_certificates_allow() -> None:
    (attribute,) = distinguished_name("a" * 64 + "b")
    assert attribute.value == "a" * 64


@pytest.mark.parametrize("wanted", USAGES)
def test_key_usage_allows_what_was_asked_for_and_nothing_else(wanted: str) -> None:
    usage: x509.KeyUsage = key_usage(**{wanted: True})
    allowed = {
        name for name in (*USAGES, "key_encipherment", "data_encipherment", "key_agreement") if getattr(usage, name)
    }
    assert allowed == {wanted}
