from __future__ import annotations

import os
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nitro_simulator.errors import CiphertextError
from nitro_simulator.kms.keys.ciphertext_blob import OVERHEAD_BYTES, blob_key_id, encode_context, open_blob, seal_blob

KEY_ID = str(uuid.UUID(int=0x1234))
MATERIAL = bytes(range(32))
CONTEXT = {"a": "1", "b": "2"}


def _seal(plaintext: bytes = b"secret", blob_bytes: int | None = None) -> bytes:
    return seal_blob(plaintext, key_id=KEY_ID, material=MATERIAL, encryption_context=CONTEXT, blob_bytes=blob_bytes)


def _open(blob: bytes, context: dict[str, str] | None = None) -> bytes:
    return open_blob(blob, material=MATERIAL, encryption_context=CONTEXT if context is None else context)


def _read(blob: bytes) -> bytes:
    blob_key_id(blob)
    return _open(blob)


@given(st.binary(max_size=4096), st.dictionaries(st.text(), st.text(), max_size=5))
def test_blob_opens_with_its_context_in_any_order(plaintext: bytes, context: dict[str, str]) -> None:
    blob = seal_blob(plaintext, key_id=KEY_ID, material=MATERIAL, encryption_context=context)

    assert blob_key_id(blob) == KEY_ID
    assert _open(blob, dict(reversed(context.items()))) == plaintext


@pytest.mark.parametrize("context", [{}, {"a": "1"}, {"a": "1", "b": "3"}, {"A": "1", "b": "2"}, {"a1": "", "b": "2"}])
def test_blob_does_not_open_with_another_context(context: dict[str, str]) -> None:
    with pytest.raises(CiphertextError):
        _open(_seal(), context)


def test_blob_does_not_open_with_another_key() -> None:
    with pytest.raises(CiphertextError):
        open_blob(_seal(), material=os.urandom(32), encryption_context=CONTEXT)


@pytest.mark.parametrize("blob_bytes", [None, 6144])
def test_every_changed_byte_is_noticed(blob_bytes: int | None) -> None:
    blob = _seal(blob_bytes=blob_bytes)
    for place in range(0, len(blob), 1 if blob_bytes is None else 97):
        changed = bytearray(blob)
        changed[place] ^= 1
        with pytest.raises(CiphertextError):
            _read(bytes(changed))


def test_every_truncation_and_extension_is_noticed() -> None:
    blob = _seal()
    for other in [blob[:size] for size in range(len(blob))] + [blob + b"\0"]:
        with pytest.raises(CiphertextError):
            _read(other)


def test_blob_can_be_given_an_exact_size() -> None:
    blob = _seal(blob_bytes=6144)

    assert len(blob) == 6144
    assert _open(blob) == b"secret"


@pytest.mark.parametrize("blob_bytes", [0, OVERHEAD_BYTES + 5, OVERHEAD_BYTES + 6 + 0x10000])
def test_size_that_cannot_be_reached_is_refused(blob_bytes: int) -> None:
    with pytest.raises(ValueError, match="cannot be reached"):
        _seal(blob_bytes=blob_bytes)


def test_plaintext_and_context_are_not_readable_in_the_blob() -> None:
    blob = seal_blob(b"attack at dawn", key_id=KEY_ID, material=MATERIAL, encryption_context={"name": "value"})

    assert b"attack" not in blob
    assert b"value" not in blob


@given(st.dictionaries(st.text(), st.text(), max_size=4), st.dictionaries(st.text(), st.text(), max_size=4))
def test_contexts_encode_equal_only_if_they_are(first: dict[str, str], second: dict[str, str]) -> None:
    assert (encode_context(first) == encode_context(second)) is (first == second)


def test_blob_names_a_multi_region_key_as_such() -> None:
    multi_region_id = "mrk-" + uuid.UUID(KEY_ID).hex
    blob = seal_blob(b"x", key_id=multi_region_id, material=MATERIAL, encryption_context=CONTEXT)
    assert (blob_key_id(blob), blob_key_id(_seal())) == (multi_region_id, KEY_ID)
    assert _open(blob) == b"x"
    as_other_kind = _seal()[:5] + blob[5:]
    assert blob_key_id(as_other_kind) == KEY_ID
    with pytest.raises(CiphertextError):
        _open(as_other_kind)


@pytest.mark.parametrize("size", [1, 32, 4096])
def test_blob_is_as_long_as_that_of_kms(size: int) -> None:
    assert len(_seal(bytes(size))) == size + 152
