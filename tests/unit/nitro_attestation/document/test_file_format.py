from __future__ import annotations

from base64 import b64encode, encodebytes

import pytest

from nitro_attestation.document.file_format import decode_document_file
from nitro_attestation.errors import DocumentFileError
from tests.support.attestation.documents import make_document


@pytest.mark.parametrize("tag", [b"", b"\xd2"])
def test_raw_document_is_taken_as_it_is(tag: bytes) -> None:
    document = tag + make_document()
    assert decode_document_file(document) == document


def test_base64_document_is_decoded_whatever_its_line_breaks() -> None:
    document = make_document()
    text = b64encode(document)
    for form in (text, text + b"\n", encodebytes(document), text.replace(b"A", b"A\r\n ")):
        assert decode_document_file(form) == document


@pytest.mark.parametrize("data", [b"", b" \n", b"{}", b"hEShATgi", b"not base64!", b"A\xff\xff\xff"])
def test_what_is_neither_cbor_nor_base64_is_refused(data: bytes) -> None:
    if data == b"hEShATgi":  # base64 of something short: the document's own parser refuses it
        assert decode_document_file(data) == bytes.fromhex("8444a1013822")
        return
    with pytest.raises(DocumentFileError, match="document: expected CBOR or"):
        decode_document_file(data)
