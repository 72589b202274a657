"""The forms in which an attestation document is stored in a file: raw CBOR or base64 text (pure)."""

from __future__ import annotations

import base64

from nitro_attestation.document.cose import MAX_DOCUMENT_BYTES
from nitro_attestation.errors import DocumentFileError

MAX_DOCUMENT_FILE_BYTES = 2 * MAX_DOCUMENT_BYTES
"""Base64 takes a third more than the bytes, and its line breaks a little."""


def decode_document_file(data: bytes) -> bytes:
    """Return the document that a file holds as raw CBOR or as base64 text.

    No document begins with an ASCII character: the array or tag it starts with is above them.

    Raises:
        DocumentFileError: there is nothing, or text that is no base64.
    """
    compact = b"".join(data.split())
    if not compact:
        raise DocumentFileError("document: expected CBOR or base64 text, got nothing")
    if not compact[:1].isascii():
        return data
    try:
        document = base64.b64decode(compact, validate=True)
    except ValueError:
        document = b""
    # validate=True still takes padding behind a whole group, and stray bits before it: one text for one document
    if base64.b64encode(document) != compact:
        raise DocumentFileError("document: expected CBOR or standard base64 with padding, got other text")
    return document
