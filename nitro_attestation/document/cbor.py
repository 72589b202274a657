"""Decode one CBOR item from untrusted bytes, more strictly than cbor2 does by default (pure).

cbor2's ``loads`` ignores trailing bytes, keeps the last of two equal keys, and turns tags into dates, regular
expressions, parsed e-mail and huge numbers. No untrusted input of this project needs any of these.
"""

from __future__ import annotations

from collections import defaultdict
from io import BytesIO
from typing import NoReturn

import cbor2

MAX_DEPTH = 8
"""Maximum nesting of containers. An attestation document's payload has 2 levels."""


def decode_strict_cbor(data: bytes) -> object:
    """Decode exactly one CBOR item (RFC 8949) without tags.

    Accepts definite and indefinite lengths, and integers of any width. Does not check types: the result may contain
    floats, simple values and keys of any type.

    Returns:
        bool, bytes, dict, float, int, list, None, str, or one of cbor2's own for other simple values.

    Raises:
        ValueError: the data is not CBOR, is truncated, continues after the item, or has a duplicate key, a tag or too
            many levels. The message does not quote the data.
    """
    stream = BytesIO(data)
    decoder = cbor2.CBORDecoder(
        stream,
        semantic_decoders=defaultdict(lambda: _refuse_tag),
        max_depth=MAX_DEPTH,
        allow_duplicate_keys=False,
    )
    try:
        item: object = decoder.decode()
    except cbor2.CBORDecodeEOF:
        raise ValueError(f"the CBOR item is truncated after {len(data)} bytes") from None
    except (cbor2.CBORError, ValueError):
        raise ValueError(
            f"not well-formed CBOR, or CBOR with a tag, a duplicate key or more than {MAX_DEPTH} levels"
        ) from None
    trailing_bytes = len(stream.read())
    if trailing_bytes:
        raise ValueError(f"the CBOR item is followed by {trailing_bytes} extra bytes")
    return item


def _refuse_tag(_item: object, _immutable: bool) -> NoReturn:
    raise ValueError("tags are not allowed")
