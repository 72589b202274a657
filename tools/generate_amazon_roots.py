"""Write the CA bundle of the enclave's image: only Amazon's five root certificates, taken from certifi's bundle.

With it, no other public authority can certify KMS. Run it after a change of ROOTS: ``python
tools/generate_amazon_roots.py``. A test compares its output with the file that is checked in. According to Amazon,
European Sovereign Cloud certificates chain to Amazon Root CA 1, 3 and 4 by cross-signing. For a region with another
authority's certificate on KMS, pass your own bundle to ``--ca-file``.
"""

from __future__ import annotations

import hashlib
import re
import ssl
import warnings
from pathlib import Path
from typing import NamedTuple

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning

OUTPUT = Path(__file__).parents[1] / "deploy" / "amazon-roots.pem"
HEADER = """\
# The roots of Amazon Trust Services, and no others. Written by tools/generate_amazon_roots.py, which holds each to
# its fingerprints.
"""


class Root(NamedTuple):
    """One root certificate.

    Attributes:
        subject: in the form of RFC 4514.
        public_key_sha256: SHA-256 of the SubjectPublicKeyInfo.
        certificate_sha256: SHA-256 of the certificate's DER.
    """

    subject: str
    public_key_sha256: str
    certificate_sha256: str


ROOTS = (
    Root(
        "CN=Amazon Root CA 1,O=Amazon,C=US",
        "fbe3018031f9586bcbf41727e417b7d1c45c2f47f93be372a17b96b50757d5a2",
        "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
    ),
    Root(
        "CN=Amazon Root CA 2,O=Amazon,C=US",
        "7f4296fc5b6a4e3b35d3c369623e364ab1af381d8fa7121533c9d6c633ea2461",
        "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
    ),
    Root(
        "CN=Amazon Root CA 3,O=Amazon,C=US",
        "36abc32656acfc645c61b71613c4bf21c787f5cabbee48348d58597803d7abc9",
        "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
    ),
    Root(
        "CN=Amazon Root CA 4,O=Amazon,C=US",
        "f7ecded5c66047d28ed6466b543c40e0743abe81d109254dcf845d4c2c7853c5",
        "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
    ),
    Root(
        "CN=Starfield Services Root Certificate Authority - G2,O=Starfield Technologies\\, Inc.,"
        "L=Scottsdale,ST=Arizona,C=US",
        "2b071c59a0a0ae76b0eadb2bad23bad4580b69c3601b630c2eaf0613afa83f92",
        "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",
    ),
)
"""Source of subjects and public keys: the repository of Amazon Trust Services (https://www.amazontrust.com/repository/),
which recommends all five for custom trust stores. Source of the certificates: certifi, whose certificates have these
keys."""


def amazon_roots(bundle_pem: bytes) -> str:
    """Return the text of the file.

    Args:
        bundle_pem: certificates to choose from.

    Raises:
        ValueError: a root is missing, or the one with its name has another key or is another certificate.
    """
    by_subject = {root.subject: root for root in ROOTS}
    found: dict[str, str] = {}
    for der in _certificates_der(bundle_pem):
        certificate = _parse(der)
        root = by_subject.get(certificate.subject.rfc4514_string())
        if root is not None:
            _verify(certificate, root)
            found[root.subject] = certificate.public_bytes(Encoding.PEM).decode("ascii")
    missing = [root.subject for root in ROOTS if root.subject not in found]
    if missing:
        raise ValueError(f"bundle: no certificate of {missing[0]}")
    return HEADER + "".join(f"\n# {root.subject}\n{found[root.subject]}" for root in ROOTS)


def _certificates_der(bundle_pem: bytes) -> list[bytes]:
    """Return those that contain a root's common name."""
    blocks = re.findall("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", bundle_pem.decode(), re.DOTALL)
    names = [root.subject.removeprefix("CN=").partition(",")[0].encode("ascii") for root in ROOTS]
    ders = map(ssl.PEM_cert_to_DER_cert, blocks)
    return [der for der in ders if any(name in der for name in names)]


def _parse(der: bytes) -> x509.Certificate:
    with warnings.catch_warnings():  # Starfield's root has the serial number 0, which RFC 5280 forbids
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return x509.load_der_x509_certificate(der)


def _verify(certificate: x509.Certificate, root: Root) -> None:
    public_key_der = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for what, expected, got in (
        ("public key", root.public_key_sha256, hashlib.sha256(public_key_der).hexdigest()),
        ("certificate", root.certificate_sha256, certificate.fingerprint(hashes.SHA256()).hex()),
    ):
        if got != expected:
            raise ValueError(f"{root.subject}: expected a {what} of SHA-256 {expected}, got {got}")


if __name__ == "__main__":
    OUTPUT.write_text(amazon_roots(Path(certifi.where()).read_bytes()), encoding="ascii")
