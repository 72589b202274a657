"""Certificates that are odd: refused or accepted, and never with a Python warning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nitro_attestation.document.certificates import AWS_NITRO_ROOT_SHA256, root_fingerprint
from tests.support.attestation.odd_certificates import AUTHORITY, odd_documents, root_pem
from tests.support.project.packages import ROOT
from tests.support.vectors import real_vectors

PROGRAM = """
import sys
from pathlib import Path
from nitro_attestation import AttestationError, verify_document
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        verify_document(path.read_bytes(), root=bytes.fromhex(sys.argv[2]))
        print(f"{path.name}: verified")
    except AttestationError as error:
        print(f"{path.name}: {error.field}: {error.reason}")
"""
UNREADABLE = "certificate: not an X.509 certificate in DER"
NOT_POSITIVE = "certificate: the serial number is not positive"
NO_PATH = "cabundle: no valid path from the root"
VERDICTS = {
    "nothing": "verified",
    "serial 0": NOT_POSITIVE,
    "serial -1": NOT_POSITIVE,
    "serial of 9 bytes, negative": NOT_POSITIVE,
    "serial of 21 bytes": "verified",
    "serial of 64 bytes": NO_PATH,
    "serial with a zero in front": UNREADABLE,
    "serial of no bytes": UNREADABLE,
    "generalized times": NO_PATH,  # RFC 5280 wants UTCTime before 2050
    "no expiration": "verified",
    "no seconds": UNREADABLE,
    "fractions of seconds": UNREADABLE,
    "time zone": UNREADABLE,
    "year 0": UNREADABLE,
    "month 13": UNREADABLE,
    "ends before it begins": "certificate: expected a certificate valid at",
    "country of many letters": "verified",
    "common name of 200 letters": "verified",
    "common name of no letters": "verified",
    "name of no parts": "verified",
}


@pytest.mark.parametrize("filters", ["always", "error", "default"])
def test_odd_certificate_gets_its_verdict_and_nothing_on_standard_error(tmp_path: Path, filters: str) -> None:
    for name, document in odd_documents().items():
        (tmp_path / name).write_bytes(document)
    arguments = [sys.executable, "-W", filters, "-c", PROGRAM, str(tmp_path), AUTHORITY.root_sha256.hex()]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stderr == ""
    verdicts = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert verdicts.keys() == VERDICTS.keys()
    assert {name: verdict for name, verdict in verdicts.items() if not verdict.startswith(VERDICTS[name])} == {}


class TestRootFingerprint:
    @pytest.mark.parametrize("around", [b"", b"# a comment\n"])
    def test_is_the_same_for_each_form(self, around: bytes) -> None:
        for root in (around + root_pem() + around, AUTHORITY.cabundle_der[0], AUTHORITY.root_sha256):
            assert root_fingerprint(root) == AUTHORITY.root_sha256

    def test_of_awss_root_is_the_pinned_one(self) -> None:
        for (pem,) in real_vectors("veracruz_aws_nitro_root_cert.pem"):
            assert root_fingerprint(pem) == AWS_NITRO_ROOT_SHA256

    @pytest.mark.parametrize("root", [b"", bytes(31), bytes(33), b"text", root_pem()[:-40], root_pem() + root_pem()])
    def test_of_something_else_is_a_value_error(self, root: bytes) -> None:
        with pytest.raises(
            ValueError, match=r"^(expected one certificate, got 2|not a certificate in PEM or DER, nor its SHA-256)$"
        ):
            root_fingerprint(root)
