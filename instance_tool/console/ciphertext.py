"""The forms in which people paste, pipe and store a ciphertext (pure).

Text is base64, or the JSON of ``aws kms encrypt`` or of this program. Files and pipes may also hold the raw bytes. Text
and raw bytes cannot be confused: a ciphertext of KMS always has bytes that no text has. For each other kind of input
that is known to get here, there is an error that says what it is.
"""

from __future__ import annotations

import binascii
import re
from typing import NoReturn

from vsock_wire.errors import InputError
from vsock_wire.protocol.json_codec import decode_json, encode_base64
from vsock_wire.protocol.kms_operations import MAX_CIPHERTEXT_BYTES

MAX_TEXT_BYTES = 65_536
"""Maximum size of one ciphertext's text. The longest is 8,192 base64 characters; wrapping and JSON add a little."""
BLOB_FIELDS = ("CiphertextBlob", "PrivateKeyCiphertextBlob")
"""The fields of KMS's responses that Decrypt takes; a response has at most one of them. Source: KMS API reference."""
MIN_TELLING_CHARS = 32
"""From this length on, and with MIN_TELLING_KINDS different characters, text of hexadecimal digits alone, or base64 of
base64 text, is not an accident."""
MIN_TELLING_KINDS = 8
"""Text of zero bytes alone is base64 and hexadecimal, too."""

SUBJECT = "CIPHERTEXT"
_QUOTES = {'"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019"}
_INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u2060\u00ad"))
"""What web pages, word processors and editors add without showing it: byte order mark, zero-width space, word joiner,
soft hyphen."""
_BASE64 = re.compile(r"[0-9A-Za-z+/]*=*|[0-9A-Za-z_-]*=*", re.ASCII)
_HEXADECIMAL = re.compile(r"(?:0[xX])?[0-9A-Fa-f]+", re.ASCII)
_TO_STANDARD = str.maketrans("-_", "+/")
_ENCODE_HINT = "base64 -w0 FILE encodes a file of raw bytes; fileb://FILE reads it as it is"
_QUERY_HINT = "with the aws command, use: --query CiphertextBlob --output text"


def decode_ciphertext(content: bytes) -> bytes:
    """Return the ciphertext in a file or pipe, which holds its raw bytes or any text that ``parse_ciphertext`` takes.

    Raises:
        InputError: as ``parse_ciphertext``.
    """
    _refuse_utf16(content)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return _bounded(content)
    if "\ufffd" in text:
        _refuse("raw bytes that a program has damaged by decoding them as text", _ENCODE_HINT)
    is_text = all(character.isprintable() or character.isspace() for character in text.translate(_INVISIBLE))
    return _parse(text) if is_text else _bounded(content)


def parse_ciphertext(content: bytes) -> bytes:
    """Return the ciphertext that a text holds.

    Base64 may be standard or URL-safe, padded or not, wrapped, and in quotes. JSON is an object with one of
    BLOB_FIELDS.

    Raises:
        InputError: the text is empty, is something else, or the ciphertext is longer than KMS accepts. The error does
            not quote it.
    """
    _refuse_utf16(content)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        _refuse("not text, but raw bytes, which an argument or a line cannot contain", _ENCODE_HINT)
    return _parse(text)


def too_long() -> InputError:
    """Return the error for a text that is longer than MAX_TEXT_BYTES."""
    return InputError(f"{SUBJECT}: longer than {MAX_TEXT_BYTES} bytes of base64 text")


def _parse(text: str) -> bytes:
    text = _unquoted(text.translate(_INVISIBLE).strip())
    if not text:
        _refuse("empty", None)
    if text.startswith(("{", "[")):
        text = _blob_in_json(text)
    _refuse_other_text(text)
    return _bounded(_decode_base64("".join(text.split())))


def _unquoted(text: str) -> str:
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        return text[1:-1].strip()
    return text


def _blob_in_json(text: str) -> str:
    try:
        fields = decode_json(text)
    except ValueError:
        _refuse("truncated or malformed JSON", "in a batch, each line must be a whole object: jq -c . writes that")
    blobs = [fields[name] for name in BLOB_FIELDS if name in fields] if isinstance(fields, dict) else []
    if len(blobs) != 1 or not isinstance(blobs[0], str) or not blobs[0].strip():
        _refuse(
            "JSON without CiphertextBlob", "pass the output of aws kms encrypt, or of encrypt or genkey --output json"
        )
    return str(blobs[0])


def _refuse_other_text(text: str) -> None:
    """Name text that is known to be pasted but holds no ciphertext, or holds more than that."""
    if text in ("None", "null"):
        _refuse("what the aws command prints if --query finds nothing", _QUERY_HINT)
    if text.startswith("-----BEGIN "):
        _refuse("PEM, not a ciphertext", None)
    if text.startswith("CIPHERTEXT: "):
        _refuse("labeled output", "pass only the text after the label, or use --output json, which is taken as it is")
    if "arn:aws" in text:
        _refuse("several columns of the aws command, not the ciphertext alone", _QUERY_HINT)
    digits = "".join(text.split()).replace(":", "")
    if _is_telling(digits) and _HEXADECIMAL.fullmatch(digits):
        _refuse("hexadecimal text", "convert it: xxd -r -p FILE | base64 -w0")


def _decode_base64(text: str) -> bytes:
    if not _BASE64.fullmatch(text):
        _name_fault(text)
    unpadded = text.rstrip("=").translate(_TO_STANDARD)
    padded = unpadded + "=" * (-len(unpadded) % 4)
    try:
        data = binascii.a2b_base64(padded, strict_mode=True)
    except ValueError:
        data = b""
    if encode_base64(data) != padded:
        _refuse("truncated base64 text", "copy all of it; its length and last character do not fit")
    if text.endswith("=") and len(text) != len(padded):
        _refuse("base64 text with wrong padding", "copy all of it; its length and its = at the end do not fit")
    inner = "".join(data.decode("ascii", "replace").split())
    if _is_telling(inner) and _BASE64.fullmatch(inner):
        _refuse("base64 of base64 text: it was encoded twice", "decode it once, or leave out the second base64")
    return data


def _name_fault(text: str) -> NoReturn:
    if re.search(r"=[^=]", text):
        _refuse("more than one base64 text", "--batch decrypts one ciphertext per line")
    if not text.isascii():
        _refuse(
            "has characters that do not occur in base64 text", "look for characters of a word processor, such as dashes"
        )
    _refuse("not base64 text", _ENCODE_HINT)


def _is_telling(text: str) -> bool:
    return len(text) >= MIN_TELLING_CHARS and len(set(text)) >= MIN_TELLING_KINDS


def _refuse_utf16(content: bytes) -> None:
    has_mark = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    encoding = "utf-16" if has_mark else "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    if not has_mark and b"\0" not in content[:2]:
        return
    try:
        text = content[: len(content) // 2 * 2].decode(encoding)
    except UnicodeDecodeError:
        return
    if text.isascii() and all(character.isprintable() or character.isspace() for character in text):
        _refuse("UTF-16 text, as PowerShell writes it", "convert it: iconv -f utf-16 -t utf-8 FILE")


def _bounded(ciphertext: bytes) -> bytes:
    if not ciphertext:
        _refuse("empty", None)
    if len(ciphertext) > MAX_CIPHERTEXT_BYTES:
        _refuse(f"expected at most {MAX_CIPHERTEXT_BYTES} bytes, got {len(ciphertext)}", None)
    return ciphertext


def _refuse(what: str, hint: str | None) -> NoReturn:
    raise InputError(f"{SUBJECT}: {what}", hint=hint)
