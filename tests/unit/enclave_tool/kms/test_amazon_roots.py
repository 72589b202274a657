"""The image's CA bundle has Amazon's roots, checked by fingerprint, and no other authority."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import certifi
import pytest
from botocore.exceptions import SSLError
from cryptography import x509

from enclave_tool.kms.tls import tls_context
from tests.support.kms.canned_kms import CannedKms, ThrowawayAuthority
from tests.support.kms.proxy_sessions import fetch, new_session
from tools.generate_amazon_roots import OUTPUT, ROOTS, Root, amazon_roots

BUNDLE = Path(certifi.where()).read_bytes()


def test_checked_in_file_is_the_generated_one() -> None:
    assert OUTPUT.read_text("ascii") == amazon_roots(BUNDLE)


def test_context_trusts_the_five_roots_alone() -> None:
    ders = tls_context(str(OUTPUT)).get_ca_certs(binary_form=True)
    fingerprints = {hashlib.sha256(der).hexdigest() for der in ders}
    assert fingerprints == {root.certificate_sha256 for root in ROOTS}
    assert len(ders) == len(ROOTS) == 5


def test_kms_of_another_authority_is_refused(kms: CannedKms) -> None:
    with (
        new_session(kms.address, tls_context(str(OUTPUT))) as session,
        pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        fetch(session)
    assert kms.calls == []


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: root.subject.partition(",")[0])
def test_bundle_without_a_root_is_refused(root: Root) -> None:
    index = ROOTS.index(root)
    blocks = re.findall(rb"-----BEGIN.*?-----END CERTIFICATE-----\n", OUTPUT.read_bytes(), re.DOTALL)
    with pytest.raises(ValueError, match=r"bundle: no certificate of .*"):
        amazon_roots(b"".join(blocks[:index] + blocks[index + 1 :]))


def test_certificate_of_the_name_with_another_key_is_refused(tmp_path: Path) -> None:
    authority = ThrowawayAuthority(x509.Name.from_rfc4514_string(ROOTS[0].subject))
    with pytest.raises(ValueError, match=r"Amazon Root CA 1.*: expected a public key of SHA-256 fbe3"):
        amazon_roots(authority.write_bundle(tmp_path / "other.pem").read_bytes() + BUNDLE)
