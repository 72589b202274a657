"""Read an attestation document from a file: raw CBOR, hexadecimal or base64 text (pure).

The first byte of a document is not ASCII, which distinguishes raw bytes from text. The base64 text of a document begins
with h, m or n, or with 0 followed by o or p, so text that consists of hexadecimal digits is never base64.
"""

from __future__ import annotations

import base64
import re

from nitro_attestation.document.cose import COSE_SIGN1_TAG, MAX_DOCUMENT_BYTES
from nitro_attestation.errors import DocumentFileError

MAX_DOCUMENT_FILE_BYTES = 3 * MAX_DOCUMENT_BYTES
"""Hexadecimal text takes twice the bytes, and line breaks a little more."""

_STARTS = (b"\x84", b"\x98", b"\x99", b"\x9a", b"\x9b", b"\x9f", COSE_SIGN1_TAG)
"""The bytes with which an array of four, or the tag before it, can begin in CBOR."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HEXADECIMAL = re.compile(rb"(?:0x)?[0-9a-f]*", re.IGNORECASE)
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


def decode_document_file(data: bytes) -> bytes:
    """Return the document in a file that contains raw CBOR, hexadecimal or base64 text.

    Hexadecimal text may start with 0x, as a whole or in each word. Base64 text may be standard or URL-safe, with or
    without padding. Both may contain white space anywhere.

    Raises:
        DocumentFileError: the data is none of these, or empty.
    """
    document = _decode(data)
    if not document.startswith(_STARTS):
        what = "not CBOR, hexadecimal or base64 text" if document is data else "the text is not an attestation document"
        raise DocumentFileError(f"document: {what}")
    return document


def _decode(data: bytes) -> bytes:
    words = data.removeprefix(_BYTE_ORDER_MARK).split()
    if not words:
        raise DocumentFileError("document: empty")
    if not words[0][:1].isascii():
        return data
    if all(_HEXADECIMAL.fullmatch(word) for word in words):
        return _decode_hexadecimal(b"".join(re.sub(rb"^0[xX]", b"", word) for word in words))
    return _decode_base64(b"".join(words))


def _decode_hexadecimal(digits: bytes) -> bytes:
    if not digits or len(digits) % 2:
        raise DocumentFileError(
            f"document: expected two hexadecimal digits for each byte, got {len(digits)} digits",
            hint="the text may be truncated",
        )
    return bytes.fromhex(digits.decode("ascii"))


def _decode_base64(text: bytes) -> bytes:
    if not (b"-" in text or b"_" in text):
        standard = text
    elif b"+" in text or b"/" in text:  # no encoder mixes the two alphabets
        standard = b"!"
    else:
        standard = text.translate(_TO_STANDARD)
    unpadded = standard.rstrip(b"=")
    padded = unpadded + b"=" * (-len(unpadded) % 4)
    try:
        document = base64.b64decode(padded, validate=True)
    except ValueError:
        document = b""
    # validate=True accepts stray bits before the padding; this accepts one text per document, padded or not
    if base64.b64encode(document) != padded or standard not in (padded, unpadded):
        raise DocumentFileError("document: not CBOR, hexadecimal or base64 text")
    return document
