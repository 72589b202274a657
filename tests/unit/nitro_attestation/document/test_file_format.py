from __future__ import annotations

import textwrap
from base64 import b64encode, encodebytes, urlsafe_b64encode
from collections.abc import Callable

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nitro_attestation.document.file_format import decode_document_file
from nitro_attestation.errors import DocumentFileError
from tests.support.attestation.documents import make_document

DOCUMENT = make_document(user_data=bytes(range(256)))
TAGGED = b"\xd2" + DOCUMENT
Encode = Callable[[bytes], bytes]
WRAPPINGS: dict[str, Encode] = {
    "one line": lambda text: text,
    "newline at the end": lambda text: text + b"\n",
    "64 columns": lambda text: "\n".join(textwrap.wrap(text.decode(), 64)).encode() + b"\n",
    "61 columns and CRLF": lambda text: "\r\n".join(textwrap.wrap(text.decode(), 61)).encode(),
    "indented": lambda text: textwrap.indent("\n".join(textwrap.wrap(text.decode(), 40)), "    ").encode(),
    "blanks": lambda text: b" \t" + b" ".join(text[i : i + 8] for i in range(0, len(text), 8)),
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text,
}
HEXADECIMAL: dict[str, Encode] = {
    "lower case": lambda document: document.hex().encode(),
    "upper case": lambda document: document.hex().upper().encode(),
    "0x": lambda document: b"0x" + document.hex().encode(),
    "0X": lambda document: b"0X" + document.hex().upper().encode(),
}
BASE64: dict[str, Encode] = {
    "standard": b64encode,
    "unpadded": lambda document: b64encode(document).rstrip(b"="),
    "URL-safe": urlsafe_b64encode,
    "URL-safe, unpadded": lambda document: urlsafe_b64encode(document).rstrip(b"="),
}


@pytest.mark.parametrize("document", [DOCUMENT, TAGGED], ids=["untagged", "tagged"])
class TestDocument:
    def test_raw_is_taken_as_it_is(self, document: bytes) -> None:
        assert decode_document_file(document) == document

    @pytest.mark.parametrize("wrapping", WRAPPINGS)
    @pytest.mark.parametrize("form", [*HEXADECIMAL, *BASE64])
    def test_as_text_is_decoded_whatever_its_line_breaks(self, document: bytes, form: str, wrapping: str) -> None:
        text = (HEXADECIMAL | BASE64)[form](document)
        assert decode_document_file(WRAPPINGS[wrapping](text)) == document

    def test_with_0x_in_front_of_each_byte_is_decoded(self, document: bytes) -> None:
        assert decode_document_file(" ".join(f"0x{byte:02x}" for byte in document).encode()) == document

    def test_wrapped_as_mail_does_is_decoded(self, document: bytes) -> None:
        assert decode_document_file(encodebytes(document)) == document


@pytest.mark.parametrize(
    "array", [b"\x84", b"\x98\x04", b"\x99\0\4", b"\x9a\0\0\0\4", b"\x9b" + bytes(7) + b"\4", b"\x9f"]
)
def test_every_way_to_begin_an_array_is_told_apart_in_each_form(array: bytes) -> None:
    for document in (array + DOCUMENT[1:], b"\xd2" + array + DOCUMENT[1:]):
        for form in (bytes, *HEXADECIMAL.values(), *BASE64.values()):
            assert decode_document_file(form(document)) == document


@given(st.binary(min_size=1, max_size=60))
def test_text_of_anything_that_begins_like_a_document_is_never_taken_for_another_form(rest: bytes) -> None:
    for start in (b"\x84", b"\xd2\x84"):
        for form in (*HEXADECIMAL.values(), *BASE64.values()):
            assert decode_document_file(form(start + rest)) == start + rest


@pytest.mark.parametrize("data", [b"", b" \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"])
def test_empty_file_is_refused(data: bytes) -> None:
    with pytest.raises(DocumentFileError, match=r"^document: empty$"):
        decode_document_file(data)


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"not base64!",
        b"A\xff\xff\xff",
        b"-----BEGIN CERTIFICATE-----",
        b64encode(DOCUMENT[:99])[:-3],  # one character of a group
        b64encode(DOCUMENT[:99]) + b"=",
        b64encode(DOCUMENT[:98]) + b"=",
        b64encode(DOCUMENT[:100])[:-3] + b"/==",  # stray bits before the padding
        b64encode(DOCUMENT) + b"\0",
        b"hEShATgi-_+/",  # two alphabets
        b"=",
        b"A===",
    ],
)
def test_text_that_is_neither_is_refused(data: bytes) -> None:
    with pytest.raises(DocumentFileError, match=r"^document: not CBOR, hexadecimal or base64 text$"):
        decode_document_file(data)


@pytest.mark.parametrize("data", [b"\x89PNG\r\n", b"\xff\xfeh\0E\0", "\u00e4".encode(), cbor2.dumps({1: 2}), b"\xa1"])
def test_bytes_that_are_neither_are_refused(data: bytes) -> None:
    with pytest.raises(DocumentFileError, match=r"^document: not CBOR, hexadecimal or base64 text$"):
        decode_document_file(data)


@pytest.mark.parametrize("digits", [DOCUMENT.hex()[:-1], "0x", "0x8", "844"])
def test_odd_number_of_hexadecimal_digits_is_refused(digits: str) -> None:
    count = len(digits.removeprefix("0x"))
    with pytest.raises(DocumentFileError, match=f"expected two hexadecimal digits for each byte, got {count} digits$"):
        decode_document_file(digits.encode())


@pytest.mark.parametrize(
    "data",
    [b64encode(b"{}"), b"7b7d", b"0x00", b"abcd", b"QUJD", DOCUMENT[:100].hex().encode()[:-1] + b"g", b"0xA1"],
)
def test_text_of_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(DocumentFileError, match=r"^document: the text is not an attestation document$"):
        decode_document_file(data)


def test_text_of_something_short_is_decoded_and_left_to_the_parser() -> None:
    assert decode_document_file(b"hEShATgi") == bytes.fromhex("8444a1013822")
