"""The CBOR decoder for untrusted bytes: what it takes, and each thing cbor2 alone would let pass."""

from __future__ import annotations

import contextlib

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nitro_attestation.document.cbor import MAX_DEPTH, decode_strict_cbor

SCALARS = st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=40) | st.text(max_size=40)
ITEMS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("encoded", "item"),
    [
        ("00", 0),
        ("1a00000001", 1),  # wider than need be
        ("f6", None),
        ("a10102", {1: 2}),
        ("bf616101ff", {"a": 1}),
        ("9f0102ff", [1, 2]),
        ("5f41014102ff", b"\x01\x02"),
        ("7f61616162ff", "ab"),
    ],
)
def test_decoder_takes_definite_and_indefinite_lengths(encoded: str, item: object) -> None:
    assert decode_strict_cbor(bytes.fromhex(encoded)) == item


@pytest.mark.parametrize("encoded", ["", "41", "a201", "9f00", "bf", "5bffffffffffffffff00", "9bffffffffffffffff"])
def test_decoder_reports_a_truncated_item(encoded: str) -> None:
    with pytest.raises(ValueError, match="truncated"):
        decode_strict_cbor(bytes.fromhex(encoded))


@pytest.mark.parametrize(
    "encoded",
    [
        "a201020103",  # key 1 twice
        "bf616101616102ff",  # key "a" twice, indefinite
        "c100",  # a date
        "c24101",  # a big number
        "c5821b7fffffffffffffff03",  # a big float that overflows
        "d28440a04040",  # COSE_Sign1
        "d8236161",  # a regular expression
        "81d81c00",  # a shared item
        "d9d9f700",  # self-described CBOR
        "1c",  # reserved additional information
        "61ff",  # not UTF-8
        "bf01ff",  # a key without a value
        "ff",
        "81" * (MAX_DEPTH + 1) + "00",
    ],
)
def test_decoder_refuses_what_is_ambiguous_or_not_needed(encoded: str) -> None:
    with pytest.raises(
        ValueError, match="not well-formed CBOR, or CBOR with a tag, a duplicate key or more than 8 levels"
    ):
        decode_strict_cbor(bytes.fromhex(encoded))


def test_decoder_reports_the_number_of_trailing_bytes() -> None:
    with pytest.raises(ValueError, match=r"^the CBOR item is followed by 2 extra bytes$"):
        decode_strict_cbor(b"\x00\x00\x00")


@given(st.lists(ITEMS, max_size=3))
def test_decoder_returns_what_was_encoded(item: object) -> None:
    try:
        decoded = decode_strict_cbor(cbor2.dumps(item))
    except ValueError:
        # only for its depth: cbor2 gives tags to integers over 64 bits, and ITEMS has none
        assert _depth(item) > MAX_DEPTH
    else:
        assert decoded == item


@given(st.binary(max_size=64))
def test_decoder_raises_nothing_but_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode_strict_cbor(data)


def _depth(item: object) -> int:
    match item:
        case list():
            return 1 + max(map(_depth, item), default=0)
        case dict():
            return 1 + max(map(_depth, item.values()), default=0)
        case _:
            return 0
