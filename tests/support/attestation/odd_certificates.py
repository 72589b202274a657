"""Documents with a correctly signed leaf certificate that has an odd serial number, odd times or odd names."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from nitro_simulator.nsm.authority import AttestationAuthority, Leaf
from nitro_simulator.pki.certificates import key_usage
from tests.support.attestation.documents import MODULE_ID, PCRS
from tests.support.kms.ber_messages import tlv

AUTHORITY = AttestationAuthority.create(at=datetime.now(UTC) - timedelta(days=1))
_ECDSA_WITH_SHA384 = bytes.fromhex("300a06082a8648ce3d040303")
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18

Edit = Callable[[bytes], bytes]


def odd_documents() -> Mapping[str, bytes]:
    """Return the documents, by a description of what is odd."""
    serials = {
        "serial 0": b"\0",
        "serial -1": b"\xff",
        "serial of 9 bytes, negative": b"\x80" + bytes(8),
        "serial of 21 bytes": b"\x01" + bytes(20),
        "serial of 64 bytes": b"\x7f" * 64,
        "serial with a zero in front": b"\0\x01",
        "serial of no bytes": b"",
    }
    times = {
        "generalized times": (_GENERALIZED_TIME, b"20200101000000Z", _GENERALIZED_TIME, b"20491231235959Z"),
        "no expiration": (_UTC_TIME, b"200101000000Z", _GENERALIZED_TIME, b"99991231235959Z"),
        "no seconds": (_UTC_TIME, b"2001010000Z", _UTC_TIME, b"4912312359Z"),
        "fractions of seconds": (_GENERALIZED_TIME, b"20200101000000.5Z", _GENERALIZED_TIME, b"20491231235959Z"),
        "time zone": (_UTC_TIME, b"200101000000+0100", _UTC_TIME, b"491231235959Z"),
        "year 0": (_GENERALIZED_TIME, b"00000101000000Z", _GENERALIZED_TIME, b"20491231235959Z"),
        "month 13": (_UTC_TIME, b"201301000000Z", _UTC_TIME, b"491231235959Z"),
        "ends before it begins": (_UTC_TIME, b"490101000000Z", _UTC_TIME, b"200101000000Z"),
    }
    names = {
        "country of many letters": [(NameOID.COUNTRY_NAME, "the country of the enclave")],
        "common name of 200 letters": [(NameOID.COMMON_NAME, "x" * 200)],
        "common name of no letters": [(NameOID.COMMON_NAME, "")],
        "name of no parts": [],
    }
    return {
        "nothing": _document(lambda tbs: tbs),
        **{name: _document(_with_serial(serial)) for name, serial in serials.items()},
        **{name: _document(_with_times(*validity)) for name, validity in times.items()},
        **{name: _document(lambda tbs: tbs, subject=parts) for name, parts in names.items()},
    }


def _document(edit: Edit, *, subject: list[tuple[x509.ObjectIdentifier, str]] | None = None) -> bytes:
    key = ec.generate_private_key(ec.SECP384R1())
    tbs = edit(_leaf(key, [(NameOID.COMMON_NAME, "leaf")] if subject is None else subject).tbs_certificate_bytes)
    signature = AUTHORITY._issuer_key.sign(tbs, ec.ECDSA(hashes.SHA384()))
    certificate_der = tlv(0x30, tbs + _ECDSA_WITH_SHA384 + tlv(0x03, b"\0" + signature))
    payload = {
        "module_id": MODULE_ID,
        "digest": "SHA384",
        "timestamp": int(datetime.now(UTC).timestamp() * 1_000),
        "pcrs": PCRS,
        "certificate": certificate_der,
        "cabundle": list(AUTHORITY.cabundle_der),
    }
    now = datetime.now(UTC)
    return Leaf(certificate_der, now, now, key).sign(cbor2.dumps(payload))


def _leaf(key: ec.EllipticCurvePrivateKey, subject: list[tuple[x509.ObjectIdentifier, str]]) -> x509.Certificate:
    now, issuer = datetime.now(UTC), x509.load_der_x509_certificate(AUTHORITY.cabundle_der[-1])
    with warnings.catch_warnings(action="ignore"):  # the names are odd on purpose
        name = x509.Name([x509.NameAttribute(oid, text, _validate=False) for oid, text in subject])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=3))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(digital_signature=True), critical=False)
        .sign(AUTHORITY._issuer_key, hashes.SHA384())
    )


def _with_serial(serial: bytes) -> Edit:
    return lambda tbs: _replaced(tbs, tlv(0x02, b"\x07"), tlv(0x02, serial))


def _with_times(begin_tag: int, begin: bytes, end_tag: int, end: bytes) -> Edit:
    def edit(tbs: bytes) -> bytes:
        start = tbs.index(b"\x30\x1e\x17\x0d")
        return _replaced(tbs, tbs[start : start + 32], tlv(0x30, tlv(begin_tag, begin) + tlv(end_tag, end)))

    return edit


def _replaced(tbs: bytes, old: bytes, new: bytes) -> bytes:
    """Return a TBSCertificate with the first ``old`` replaced, and its length corrected."""
    assert tbs[:2] == b"\x30\x82"
    return tlv(0x30, tbs[4:].replace(old, new, 1))


def root_pem() -> bytes:
    return AUTHORITY._cabundle[0].public_bytes(Encoding.PEM)
