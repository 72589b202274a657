"""The forms in which an attestation document is stored in a file: raw CBOR, hexadecimal or base64 text (pure).

The first byte of a document is not ASCII, which tells raw bytes from text. The base64 text of a document begins with h,
m or n, or with 0 and then o or p; so text of hexadecimal digits alone is never base64 text of one.
"""

from __future__ import annotations

import base64
import re

from nitro_attestation.document.cose import COSE_SIGN1_TAG, MAX_DOCUMENT_BYTES
from nitro_attestation.errors import DocumentFileError

MAX_DOCUMENT_FILE_BYTES = 3 * MAX_DOCUMENT_BYTES
"""Hexadecimal text takes twice the bytes, and line breaks a little more."""

_STARTS = (b"\x84", b"\x98", b"\x99", b"\x9a", b"\x9b", b"\x9f", COSE_SIGN1_TAG)
"""How an array of four, or the tag in front of it, may begin in CBOR."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HEXADECIMAL = re.compile(rb"(?:0x)?[0-9a-f]*", re.IGNORECASE)
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


def decode_document_file(data: bytes) -> bytes:
    """Return the document that a file holds as raw CBOR, hexadecimal or base64 text.

    Hexadecimal text may have 0x in front, of the whole or of each word. Base64 text may be standard or URL-safe, with
    padding or without. Both may be wrapped in any way.

    Raises:
        DocumentFileError: it is none of these, or has no bytes.
    """
    document = _decode(data)
    if not document.startswith(_STARTS):
        what = "other bytes" if document is data else "text of something else"
        raise DocumentFileError(f"document: expected CBOR, hexadecimal or base64 text, got {what}")
    return document


def _decode(data: bytes) -> bytes:
    words = data.removeprefix(_BYTE_ORDER_MARK).split()
    if not words:
        raise DocumentFileError("document: expected CBOR, hexadecimal or base64 text, got nothing")
    if not words[0][:1].isascii():
        return data
    if all(_HEXADECIMAL.fullmatch(word) for word in words):
        return _decode_hexadecimal(b"".join(re.sub(rb"^0[xX]", b"", word) for word in words))
    return _decode_base64(b"".join(words))


def _decode_hexadecimal(digits: bytes) -> bytes:
    if not digits or len(digits) % 2:
        raise DocumentFileError(
            f"document: expected two hexadecimal digits for each byte, got {len(digits)} digits",
            hint="the text may have been cut short",
        )
    return bytes.fromhex(digits.decode("ascii"))


def _decode_base64(text: bytes) -> bytes:
    if not (b"-" in text or b"_" in text):
        standard = text
    elif b"+" in text or b"/" in text:  # two alphabets in one text: nobody writes that
        standard = b"!"
    else:
        standard = text.translate(_TO_STANDARD)
    unpadded = standard.rstrip(b"=")
    padded = unpadded + b"=" * (-len(unpadded) % 4)
    try:
        document = base64.b64decode(padded, validate=True)
    except ValueError:
        document = b""
    # validate=True still takes stray bits before the padding: one text for one document, but for the padding itself
    if base64.b64encode(document) != padded or standard not in (padded, unpadded):
        raise DocumentFileError("document: expected CBOR, hexadecimal or base64 text, got other text")
    return document
