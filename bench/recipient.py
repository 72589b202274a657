"""How long it takes to read a CiphertextForRecipient: `python -m bench.recipient`, and a part of `make bench`."""

from __future__ import annotations

import timeit
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_public_key

from bench.figures import Report
from enclave_tool.recipient.attested_key import RecipientKey
from enclave_tool.recipient.cms import parse_enveloped_data, read_ber
from nitro_simulator.kms.recipient_cms import seal_for_recipient

ROUNDS = 9
CALLS = 100


def measure_recipient(report: Report) -> None:
    """Read and open messages of each size that KMS sends; the time is the best of several rounds."""
    report.begin("One CiphertextForRecipient (best of several rounds)")
    key = RecipientKey.generate()
    for name, plaintext in _plaintexts().items():
        message = _sealed(key, plaintext)
        if parse_enveloped_data(message) != read_ber(message):
            raise AssertionError(f"{name}: the pattern and pyasn1 read different fields")
        report.add(f"{name}: read, by the pattern", _microseconds(parse_enveloped_data, message), "us")
        report.add(f"{name}: read, by pyasn1", _microseconds(read_ber, message), "us")
        report.add(f"{name}: read and opened", _microseconds(key.open_ciphertext_for_recipient, message), "us")


def _plaintexts() -> dict[str, bytes]:
    private_key = generate_private_key(65_537, 4_096)
    return {
        "data key of 32 bytes": bytes(32),
        "private key of an RSA_4096 data key pair": private_key.private_bytes(
            Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
        ),
        "secret of 4,096 bytes": bytes(4_096),
    }


def _sealed(key: RecipientKey, plaintext: bytes) -> bytes:
    public_key = load_der_public_key(key.public_key_der)
    if not isinstance(public_key, RSAPublicKey):
        raise TypeError(f"recipient key: expected RSA, got {type(public_key).__name__}")
    return seal_for_recipient(plaintext, public_key)


def _microseconds(read: Callable[[bytes], object], message: bytes) -> float:
    return min(timeit.repeat(lambda: read(message), number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


if __name__ == "__main__":
    measure_recipient(Report())
