from __future__ import annotations

import contextlib
import json
from base64 import b64encode, encodebytes, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance_tool.console.ciphertext import decode_ciphertext, parse_ciphertext
from vsock_wire.errors import ExitCode, InputError
from vsock_wire.protocol.kms_operations import MAX_CIPHERTEXT_BYTES

LONGEST = b64encode(bytes(MAX_CIPHERTEXT_BYTES))


class TestParseCiphertext:
    @given(st.binary(min_size=1, max_size=200))
    def test_returns_what_was_encoded(self, ciphertext: bytes) -> None:
        assert parse_ciphertext(b64encode(ciphertext)) == ciphertext

    @pytest.mark.parametrize("text", [b"AQID\n", b" AQID ", b"AQ\nID\r\n", b"A Q I D", b"\tAQ\x0bID\x0c"])
    def test_spaces_and_line_breaks_are_ignored(self, text: bytes) -> None:
        assert parse_ciphertext(text) == b"\1\2\3"

    @pytest.mark.parametrize("text", [b"", b" ", b"\n\n"])
    def test_empty_input_says_so(self, text: bytes) -> None:
        with pytest.raises(InputError, match=r"^CIPHERTEXT: empty$") as caught:
            parse_ciphertext(text)
        assert caught.value.exit_code is ExitCode.USAGE

    def test_longest_is_accepted_and_one_more_byte_is_not(self) -> None:
        assert parse_ciphertext(LONGEST) == bytes(MAX_CIPHERTEXT_BYTES)
        with pytest.raises(InputError, match=r"^CIPHERTEXT: expected at most 6144 bytes, got 6145$"):
            parse_ciphertext(b64encode(bytes(MAX_CIPHERTEXT_BYTES + 1)))

    @given(st.binary(max_size=50))
    def test_raises_nothing_but_input_errors(self, text: bytes) -> None:
        with contextlib.suppress(InputError):
            parse_ciphertext(text)


SYMMETRIC = bytes.fromhex("0102020078") + bytes(range(0x80, 0x100)) + bytes(range(50))
"""Begins like a symmetric ciphertext of KMS, and has every byte that is not ASCII."""
TEXT = b64encode(SYMMETRIC).decode()

ACCEPTED = {
    "standard base64": TEXT,
    "without padding": TEXT.rstrip("="),
    "URL-safe": urlsafe_b64encode(SYMMETRIC).decode(),
    "URL-safe without padding": urlsafe_b64encode(SYMMETRIC).decode().rstrip("="),
    "wrapped": encodebytes(SYMMETRIC).decode(),
    "wrapped with CRLF": encodebytes(SYMMETRIC).decode().replace("\n", "\r\n"),
    "with a byte order mark": "\ufeff" + TEXT,
    "in double quotes": f'"{TEXT}"\n',
    "in single quotes": f" '{TEXT}' ",
    "in curly quotes": f"\u201c{TEXT}\u201d",
    "with blanks of a web page": f"\xa0{TEXT[:40]}\u200b{TEXT[40:]}\xa0",
    "aws kms encrypt": json.dumps(
        {"CiphertextBlob": TEXT, "KeyId": "arn:aws:kms:x", "EncryptionAlgorithm": "S"}, indent=4
    ),
    "genkey": json.dumps({"Plaintext": "AQID", "CiphertextBlob": TEXT, "KeyId": "arn:aws:kms:x"}),
    "genkeypair": json.dumps({"PrivateKeyPlaintext": "AQID", "PrivateKeyCiphertextBlob": TEXT}),
    "line of a batch": json.dumps({"Line": 3, "CiphertextBlob": TEXT}),
}
REFUSED = {
    "": "empty",
    '""': "empty",
    TEXT[:-3]: "truncated base64 text",
    TEXT[:-4] + "/x==": "truncated base64 text",
    "AQID=": "base64 text with wrong padding",
    "AQ=": "base64 text with wrong padding",
    "=": "base64 text with wrong padding",
    "AQID====": "base64 text with wrong padding",
    "AQ==AQ==": "more than one base64 text",
    "+_": "not base64 text",
    "hello, world": "not base64 text",
    "AQID\0": "not base64 text",
    "\u2014AQID": "has characters that do not occur in base64 text",
    SYMMETRIC.hex(): "hexadecimal text",
    "0x" + SYMMETRIC.hex().upper(): "hexadecimal text",
    SYMMETRIC.hex(":"): "hexadecimal text",
    b64encode(TEXT.encode()).decode(): "base64 of base64 text: it was encoded twice",
    '{"Plaintext": "AQID"}': "JSON without CiphertextBlob",
    '{"CiphertextBlob": 7}': "JSON without CiphertextBlob",
    '{"CiphertextBlob": ""}': "JSON without CiphertextBlob",
    '{"CiphertextBlob": "AQID", "PrivateKeyCiphertextBlob": "AQID"}': "JSON without CiphertextBlob",
    f'["{TEXT}"]': "JSON without CiphertextBlob",
    "{": "truncated or malformed JSON",
    '{"CiphertextBlob": "AQID", "CiphertextBlob": "BAUG"}': "truncated or malformed JSON",
    '{"CiphertextBlob": "?"}': "not base64 text",
    f"{TEXT}\tSYMMETRIC_DEFAULT\tarn:aws:kms:us-east-1:1:key/k": "several columns of the aws command",
    "None": "what the aws command prints if --query finds nothing",
    "null": "what the aws command prints if --query finds nothing",
    "-----BEGIN PKCS7-----\nAQID": "PEM, not a ciphertext",
    "CIPHERTEXT: AQID\nPLAINTEXT: AQID": "labeled output",
}


class TestForms:
    @pytest.mark.parametrize("form", ACCEPTED)
    def test_text_is_accepted_from_an_argument_and_from_a_file(self, form: str) -> None:
        assert parse_ciphertext(ACCEPTED[form].encode()) == SYMMETRIC
        assert decode_ciphertext(ACCEPTED[form].encode()) == SYMMETRIC

    @pytest.mark.parametrize(("text", "words"), REFUSED.items(), ids=REFUSED.values())
    def test_other_text_is_named_for_what_it_is_without_quoting_it(self, text: str, words: str) -> None:
        with pytest.raises(InputError, match=rf"^CIPHERTEXT: {words}") as caught:
            parse_ciphertext(text.encode())
        assert len(text) < 10 or text not in f"{caught.value} {caught.value.hint}"

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
    def test_utf16_is_named(self, encoding: str) -> None:
        for parse in (parse_ciphertext, decode_ciphertext):
            with pytest.raises(InputError, match=r"^CIPHERTEXT: UTF-16 text") as caught:
                parse((TEXT + "\r\n").encode(encoding))
            assert "iconv -f utf-16" in (caught.value.hint or "")

    @pytest.mark.parametrize("raw", [SYMMETRIC, b"\xff\xfe" + SYMMETRIC, b"\0\1" + SYMMETRIC, b"\1\2\3"])
    def test_raw_bytes_are_accepted_from_a_file_and_not_from_an_argument(self, raw: bytes) -> None:
        assert decode_ciphertext(raw) == raw
        with pytest.raises(InputError, match=r"^CIPHERTEXT: (not text, but raw bytes|not base64 text)"):
            parse_ciphertext(raw)

    def test_raw_bytes_that_were_decoded_as_text_are_named(self) -> None:
        with pytest.raises(InputError, match=r"^CIPHERTEXT: raw bytes that a program has damaged"):
            decode_ciphertext(SYMMETRIC.decode("utf-8", "replace").encode())

    def test_raw_bytes_have_the_same_limit_as_text(self) -> None:
        assert decode_ciphertext(b"\xff" * MAX_CIPHERTEXT_BYTES) == b"\xff" * MAX_CIPHERTEXT_BYTES
        with pytest.raises(InputError, match=r"^CIPHERTEXT: expected at most 6144 bytes, got 6145$"):
            decode_ciphertext(b"\xff" * (MAX_CIPHERTEXT_BYTES + 1))

    @given(st.binary(max_size=300))
    def test_any_file_is_a_ciphertext_or_an_input_error(self, content: bytes) -> None:
        with contextlib.suppress(InputError):
            decode_ciphertext(content)

    @given(st.binary(min_size=64, max_size=300))
    def test_any_encoding_of_any_bytes_is_read_back(self, blob: bytes) -> None:
        ciphertext = b"\x01\x02" + blob
        for encoded in (b64encode(ciphertext), urlsafe_b64encode(ciphertext).rstrip(b"="), encodebytes(ciphertext)):
            assert parse_ciphertext(encoded) == decode_ciphertext(encoded) == ciphertext
