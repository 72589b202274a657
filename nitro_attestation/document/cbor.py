"""One CBOR item out of untrusted bytes, without what the library would let pass (pure).

cbor2's ``loads`` ignores trailing bytes, keeps the last of two equal keys, and turns tags into dates, regular
expressions, parsed e-mail and huge numbers. Nothing this project reads from a stranger needs any of these.
"""

from __future__ import annotations

from collections import defaultdict
from io import BytesIO
from typing import NoReturn

import cbor2

MAX_DEPTH = 8
"""Most containers inside each other. An attestation document's payload has 2."""


def decode_strict_cbor(data: bytes) -> object:
    """Decode exactly one CBOR item (RFC 8949) without tags.

    Definite and indefinite lengths are both taken, and integers of any width. Does not look at the types inside: what
    comes back may hold floats, simple values and keys of any kind.

    Returns:
        bool, bytes, dict, float, int, list, None, str, or one of cbor2's own for other simple values.

    Raises:
        ValueError: not CBOR, cut short, bytes behind the item, a key twice in one map, a tag, or nested too deep. The
            text quotes nothing of the data.
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
        raise ValueError(f"expected a whole CBOR item, got one cut short after {len(data)} bytes") from None
    except (cbor2.CBORError, ValueError):
        raise ValueError("expected well-formed CBOR without tags and duplicate keys, got other bytes") from None
    trailing_bytes = len(stream.read())
    if trailing_bytes:
        raise ValueError(f"expected nothing after the CBOR item, got {trailing_bytes} more bytes")
    return item


def _refuse_tag(_item: object, _immutable: bool) -> NoReturn:
    raise ValueError("a tag")
