"""Messages from other implementations: OpenSSL, and KMS itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from enclave_tool.errors import CmsError
from enclave_tool.recipient.attested_key import RecipientKey
from enclave_tool.recipient.cms import (
    decrypt_enveloped_data,
    parse_enveloped_data,
)
from tests.support.vectors import real_vectors


def openssl_message(folder: Path, key: rsa.RSAPrivateKey, plaintext: bytes, *options: str) -> bytes:
    """Return a message for ``key`` from OpenSSL, an independent implementation."""
    openssl = shutil.which("openssl")
    assert openssl, "the openssl command is needed to make samples: on Debian, apt-get install openssl"
    key_file, certificate = folder / "key.pem", folder / "certificate.pem"
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    request = ["req", "-x509", "-new", "-key", str(key_file), "-subj", "/CN=recipient", "-out", str(certificate)]
    subprocess.run([openssl, *request], check=True, capture_output=True)
    encrypt = ["cms", "-encrypt", "-binary", "-aes-256-cbc", "-outform", "DER", *options, "-recip", str(certificate)]
    oaep = ["rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256"]
    for option in oaep:
        encrypt += ["-keyopt", option]
    return subprocess.run([openssl, *encrypt], input=plaintext, check=True, capture_output=True).stdout


class TestOpenssl:
    @pytest.mark.parametrize("options", [("-keyid", "-stream"), ("-keyid",), ("-stream",), ()], ids=" ".join)
    @pytest.mark.parametrize("size", [1, 16, 5_000])
    def test_its_messages_open(self, tmp_path: Path, options: tuple[str, ...], size: int) -> None:
        private_key = rsa.generate_private_key(65_537, 2_048)
        plaintext = bytes(range(256)) * 20
        ber = openssl_message(tmp_path, private_key, plaintext[:size], *options)
        assert decrypt_enveloped_data(parse_enveloped_data(ber), private_key) == plaintext[:size]


class TestRealMessages:
    def test_message_that_kms_returned_opens_with_its_key(self) -> None:
        for ber, key_der, plaintext in real_vectors("enclaver_cfr.ber", "enclaver_key.pkcs8.der", "enclaver_plain.bin"):
            private_key = load_der_private_key(key_der, None)
            assert isinstance(private_key, rsa.RSAPrivateKey)
            assert RecipientKey(private_key).open_ciphertext_for_recipient(ber) == plaintext

    def test_message_that_kms_returned_is_refused_when_cut_or_continued(self) -> None:
        for (ber,) in [*real_vectors("enclaver_cfr.ber"), *real_vectors("sdk-c_input_ber_w_ctx.bin")]:
            for wrong in (*(ber[:length] for length in range(len(ber))), ber + b"\0\0"):
                with pytest.raises(CmsError) as caught:
                    parse_enveloped_data(wrong)
                assert caught.value.__cause__ is None

    def test_primitive_message_that_kms_returned_parses_to_its_fields(self) -> None:
        for ber, key, iv, content in real_vectors(
            "sdk-c_input_ber_w_ctx.bin",
            "sdk-c_encrypted_key_out_w_ctx.bin",
            "sdk-c_iv_out_w_ctx.bin",
            "sdk-c_ciphertext_out_w_ctx.bin",
        ):
            enveloped = parse_enveloped_data(ber)
            assert (enveloped.encrypted_key, enveloped.iv, enveloped.encrypted_content) == (key, iv, content)
