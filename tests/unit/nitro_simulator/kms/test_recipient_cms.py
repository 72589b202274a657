from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from nitro_simulator.kms.recipient_cms import RecipientForm, seal_for_recipient
from tests.support.kms.ber_reader import Node, read_ber
from tests.support.kms.world import open_cms

VECTORS = Path(__file__).resolve().parents[5] / "shared" / "vectors"
REAL_MESSAGES = [path for path in (VECTORS / "enclaver_cfr.ber",) if path.exists()]
BER_FORMS = [RecipientForm.KMS, RecipientForm.PRIMITIVE, RecipientForm.SEGMENTED]


def _openssl_decrypt(message: bytes, key: rsa.RSAPrivateKey, directory: Path) -> bytes:
    key_file, message_file = directory / "key.pem", directory / "message.der"
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    message_file.write_bytes(message)
    arguments = ["openssl", "cms", "-decrypt", "-binary", "-inform", "DER"]
    arguments += ["-in", str(message_file), "-inkey", str(key_file)]
    done = subprocess.run(arguments, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def _real_key() -> rsa.RSAPrivateKey:
    key = serialization.load_der_private_key((VECTORS / "enclaver_key.pkcs8.der").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


@pytest.mark.parametrize("form", RecipientForm)
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 32, 4096])
def test_openssl_opens_every_form(
    form: RecipientForm, size: int, recipient_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    plaintext = bytes(range(256)) * 16
    message = seal_for_recipient(plaintext[:size], recipient_key.public_key(), form=form)

    assert _openssl_decrypt(message, recipient_key, tmp_path) == plaintext[:size]


@pytest.mark.parametrize("bits", [3072, 4096])
def test_openssl_opens_message_to_longer_key(bits: int, tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=bits)

    assert _openssl_decrypt(seal_for_recipient(b"x" * 32, key.public_key()), key, tmp_path) == b"x" * 32


@pytest.mark.parametrize("real", REAL_MESSAGES, ids=lambda path: path.name)
def test_reader_of_these_tests_opens_real_message(real: Path) -> None:
    assert open_cms(_real_key(), real.read_bytes()) == (VECTORS / "enclaver_plain.bin").read_bytes()


@pytest.mark.parametrize("real", REAL_MESSAGES, ids=lambda path: path.name)
def test_kms_form_differs_from_real_message_only_in_random_bytes(real: Path) -> None:
    expected, key = real.read_bytes(), _real_key()

    message = seal_for_recipient((VECTORS / "enclaver_plain.bin").read_bytes(), key.public_key())

    assert read_ber(message).shape() == read_ber(expected).shape()
    assert _without_random(message) == _without_random(expected)


@pytest.mark.parametrize("form", BER_FORMS)
def test_ber_form_names_recipient_by_sha256_of_public_key(
    form: RecipientForm, recipient_key: rsa.RSAPrivateKey
) -> None:
    der = recipient_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    message = seal_for_recipient(b"x", recipient_key.public_key(), form=form)

    assert message.startswith(b"\x30\x80")
    assert _tagged(message, 0x80)[0].value == hashlib.sha256(der).digest()
    assert [node.value for node in _tagged(message, 0x02)] == [b"\x02", b"\x02"]


def test_encrypted_content_matches_its_form(recipient_key: rsa.RSAPrivateKey) -> None:
    def content(form: RecipientForm) -> Node:
        message = seal_for_recipient(b"x" * 40, recipient_key.public_key(), form=form)
        return read_ber(message).children[1].children[0].children[2].children[2]

    kms, primitive, segmented = (content(form) for form in BER_FORMS)
    assert (kms.tag, kms.is_indefinite, [len(node.value) for node in kms.children]) == (0xA0, True, [48])
    assert (primitive.tag, len(primitive.value)) == (0x80, 48)
    assert (segmented.tag, [len(node.value) for node in segmented.children]) == (0xA0, [16, 16, 16])


@pytest.mark.parametrize(
    ("plaintext_bytes", "segments"),
    [(991, [992]), (992, [1000, 8]), (1_999, [1000, 1000]), (2_000, [1000, 1000, 16]), (4_096, [1000] * 4 + [112])],
)
def test_kms_cuts_content_over_1000_bytes_into_segments(
    plaintext_bytes: int, segments: list[int], recipient_key: rsa.RSAPrivateKey
) -> None:
    """As seen in a message of KMS's: 4 segments of 1,000 bytes and one of 112."""
    message = seal_for_recipient(bytes(plaintext_bytes), recipient_key.public_key())
    content = read_ber(message).children[1].children[0].children[2].children[2]

    assert (content.tag, content.is_indefinite) == (0xA0, True)
    assert [(node.tag, len(node.value)) for node in content.children] == [(0x04, size) for size in segments]
    assert open_cms(recipient_key, message) == bytes(plaintext_bytes)


def test_issuer_serial_form_is_version_0_with_definite_lengths(recipient_key: rsa.RSAPrivateKey) -> None:
    message = seal_for_recipient(b"x", recipient_key.public_key(), form=RecipientForm.ISSUER_SERIAL)

    assert not any(node.is_indefinite for node in read_ber(message).walk())
    assert [node.value for node in _tagged(message, 0x02)] == [b"\0", b"\0", b"\x01"]


def test_two_messages_of_one_plaintext_share_neither_key_nor_iv(recipient_key: rsa.RSAPrivateKey) -> None:
    first, second = (
        {node.value for node in _tagged(seal_for_recipient(b"x", recipient_key.public_key()), 0x04)} for _ in range(2)
    )

    assert first.isdisjoint(second)


def _tagged(message: bytes, tag: int) -> list[Node]:
    return [node for node in read_ber(message).walk() if node.tag == tag]


def _without_random(message: bytes) -> bytes:
    """Blank the encrypted key, the IV and the content, which are the only OCTET STRINGs."""
    for node in _tagged(message, 0x04):
        message = message.replace(node.value, bytes(len(node.value)))
    return message
