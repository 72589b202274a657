from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enclave_tool.errors import CmsError
from enclave_tool.recipient.attested_key import RecipientKey
from enclave_tool.recipient.cms import (
    CANNOT_OPEN,
    MAX_CMS_BYTES,
    EnvelopedData,
    parse_enveloped_data,
)
from tests.support.kms.ber_messages import (
    KMS_SHAPE,
    SHAPES,
    ContentForm,
    Parts,
    Shape,
    integer,
    oid,
    parts_for,
    seal,
    tlv,
    write_message,
)

PLAINTEXT = b"a plaintext of more than two AES blocks, so that it has segments"
NOT_ENVELOPED = "CiphertextForRecipient: not a CMS EnvelopedData in BER"


@pytest.fixture(scope="module")
def parts(recipient_key: RecipientKey) -> Parts:
    return parts_for(recipient_key, PLAINTEXT)


@pytest.fixture(scope="module")
def message(parts: Parts) -> bytes:
    return write_message(parts)


def refusal_of(ber: bytes) -> str:
    with pytest.raises(CmsError) as caught:
        parse_enveloped_data(ber)
    assert caught.value.__cause__ is None
    return str(caught.value)


def failure_of(key: RecipientKey, ber: bytes) -> str:
    with pytest.raises(CmsError) as caught:
        key.open_ciphertext_for_recipient(ber)
    assert caught.value.__cause__ is None
    return str(caught.value)


class TestShapes:
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_fields_of_each_are_read(self, parts: Parts, shape: Shape) -> None:
        assert parse_enveloped_data(write_message(parts, shape)) == EnvelopedData(
            parts.identifier if shape.is_named_by_key else None, parts.encrypted_key, parts.iv, parts.encrypted_content
        )

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 4_096])
    def test_each_opens_to_its_plaintext(self, recipient_key: RecipientKey, shape: Shape, size: int) -> None:
        plaintext = bytes(index % 251 for index in range(size))
        assert recipient_key.open_ciphertext_for_recipient(seal(recipient_key, plaintext, shape)) == plaintext

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_each_truncated_at_every_length_is_refused(self, parts: Parts, shape: Shape) -> None:
        ber = write_message(parts, shape)
        for length in range(len(ber)):
            assert refusal_of(ber[:length])

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("trailing", [b"\0", b"\0\0", b"x", b"\x30\x80\0\0"])
    def test_each_with_trailing_bytes_is_refused(self, parts: Parts, shape: Shape, trailing: bytes) -> None:
        refusal = refusal_of(write_message(parts, shape) + trailing)
        assert refusal in (f"CiphertextForRecipient: {len(trailing)} bytes follow the EnvelopedData", NOT_ENVELOPED)

    def test_empty_label_given_in_full_is_taken(self, recipient_key: RecipientKey) -> None:
        assert (
            recipient_key.open_ciphertext_for_recipient(seal(recipient_key, PLAINTEXT, replace(KMS_SHAPE, label=b"")))
            == PLAINTEXT
        )

    @pytest.mark.parametrize("bits", [3_072])
    def test_longer_keys_open(self, bits: int) -> None:
        key = RecipientKey.generate(bits)
        assert key.open_ciphertext_for_recipient(seal(key, PLAINTEXT)) == PLAINTEXT

    @given(plaintext=st.binary(max_size=200), shape=st.sampled_from(SHAPES))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_plaintext_survives(self, recipient_key: RecipientKey, plaintext: bytes, shape: Shape) -> None:
        assert recipient_key.open_ciphertext_for_recipient(seal(recipient_key, plaintext, shape)) == plaintext


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"content_type": "1.2.840.113549.1.7.2"}, "content type: expected 1.2.840.113549.1.7.3, got"),
            ({"inner_content_type": "1.2.840.113549.1.7.3"}, "encrypted content type: expected 1.2.840.113549.1.7.1"),
            ({"key_algorithm": "1.2.840.113549.1.1.1"}, "key encryption algorithm: expected 1.2.840.113549.1.1.7"),
            ({"hash_algorithm": "1.3.14.3.2.26"}, "OAEP hash: expected 2.16.840.1.101.3.4.2.1, got 1.3.14.3.2.26"),
            ({"mask_algorithm": "1.2.3.4"}, "OAEP mask generation: expected 1.2.840.113549.1.1.8, got 1.2.3.4"),
            ({"mask_hash_algorithm": "1.3.14.3.2.26"}, "MGF1 hash: expected 2.16.840.1.101.3.4.2.1"),
            ({"content_algorithm": "2.16.840.1.101.3.4.1.2"}, "content encryption algorithm: expected 2.16.840.1.101"),
            ({"content_algorithm": "2.16.840.1.101.3.4.1.46"}, "content encryption algorithm: expected"),
            ({"label": b"label"}, "OAEP label: not empty"),
            ({"version": 1}, "EnvelopedData version: expected one of (0, 2), got 1"),
            ({"version": -1}, "EnvelopedData version: expected"),
            ({"version": 3}, "EnvelopedData version: expected"),
            ({"recipient_version": 4}, "KeyTransRecipientInfo version: expected one of (0, 2), got 4"),
            ({"recipients": 0}, "expected one recipient, got 0"),
            ({"recipients": 2}, "expected one recipient, got 2"),
        ],
    )
    @pytest.mark.parametrize("is_indefinite", [True, False])
    def test_wrong_field_is_named(
        self, parts: Parts, change: dict[str, object], text: str, *, is_indefinite: bool
    ) -> None:
        shape = replace(KMS_SHAPE, is_indefinite=is_indefinite, **change)  # type: ignore[arg-type] # fields of Shape
        assert refusal_of(write_message(parts, shape)).startswith(f"CiphertextForRecipient: {text}")

    @pytest.mark.parametrize("size", [0, 8, 12, 15, 17, 32])
    def test_iv_of_another_size_is_named(self, parts: Parts, size: int) -> None:
        ber = write_message(replace(parts, iv=bytes(size)))
        assert refusal_of(ber) == f"CiphertextForRecipient: IV: expected 16 bytes, got {size}"

    @pytest.mark.parametrize("size", [0, 1, 15, 17, 33])
    @pytest.mark.parametrize("form", ContentForm)
    def test_content_without_whole_blocks_is_named(self, parts: Parts, size: int, form: ContentForm) -> None:
        ber = write_message(replace(parts, encrypted_content=bytes(size)), replace(KMS_SHAPE, content_form=form))
        assert refusal_of(ber).endswith(f"encrypted content: expected whole AES blocks, got {size} bytes")

    @pytest.mark.parametrize(
        "ber",
        [
            b"",
            b"\0",
            b"\0\0",
            b"\x30\x80\0\0",
            b"\x30\0",
            b"\x30",
            b"\x30\xff",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x89" + b"\xff" * 9,
            b"\x1f\xff\xff\xff\xff",
            b"{}",
            b"\x04\x03abc",
            tlv(0x30, oid("1.2.840.113549.1.7.3")),
            tlv(0x30, oid("1.2.840.113549.1.7.3") + tlv(0xA0, b"")),
            tlv(0x30, oid("1.2.840.113549.1.7.3") + tlv(0xA0, tlv(0x30, integer(2)))),
            tlv(0x30, tlv(6, b"")),
            tlv(0x30, tlv(6, b"\x80")),
            tlv(0x30, tlv(6, b"\xff" * 5_000)),
        ],
    )
    def test_other_bytes_are_refused_with_one_text(self, ber: bytes) -> None:
        assert refusal_of(ber) == NOT_ENVELOPED

    def test_field_after_the_last_one_is_refused(self, parts: Parts) -> None:
        assert refusal_of(write_message(parts, replace(KMS_SHAPE, extra=tlv(0xA1, b"")))) == NOT_ENVELOPED

    def test_huge_version_is_refused(self, parts: Parts) -> None:
        assert refusal_of(write_message(parts, replace(KMS_SHAPE, version=1 << 40_000))).startswith("CiphertextForRec")

    def test_input_at_the_limit_is_read_and_over_it_is_not(self, parts: Parts) -> None:
        overhead = len(write_message(replace(parts, encrypted_content=bytes(4_096)))) - 4_096
        largest = (MAX_CMS_BYTES - overhead) // 16 * 16
        read = parse_enveloped_data(write_message(replace(parts, encrypted_content=bytes(largest))))
        assert len(read.encrypted_content) == largest
        assert refusal_of(bytes(MAX_CMS_BYTES)) == NOT_ENVELOPED
        assert refusal_of(bytes(MAX_CMS_BYTES + 1)).endswith("expected at most 6144 bytes, got 6145")

    @pytest.mark.parametrize(
        "bomb",
        [
            b"\x30\x80" * 3_072,
            b"\x24\x80" * 3_072,
            b"\xa0\x80" * 3_072,
            b"\x30\x80" + oid("1.2.840.113549.1.7.3") + b"\xa0\x80" * 3_000,
            b"\x31\x80" * 3_072,
        ],
    )
    def test_nesting_bomb_is_refused(self, bomb: bytes) -> None:
        assert refusal_of(bomb) == NOT_ENVELOPED

    @pytest.mark.parametrize("depth", [1, 10])
    def test_content_in_nested_segments_is_read(self, parts: Parts, depth: int) -> None:
        assert parse_enveloped_data(nested_content(parts, depth)).encrypted_content == parts.encrypted_content

    @pytest.mark.parametrize("depth", [300, 1_300])
    def test_content_in_segments_nested_deeply_is_refused(self, parts: Parts, depth: int) -> None:
        assert refusal_of(nested_content(parts, depth)) == NOT_ENVELOPED


class TestMutations:
    def test_single_byte_mutation_never_gives_another_error_nor_a_new_plaintext_by_a_header(
        self, recipient_key: RecipientKey, parts: Parts, message: bytes
    ) -> None:
        malleable = [*positions_of(message, parts.iv), *positions_of(message, parts.encrypted_content[:16])]
        malleable += positions_of(message, parts.encrypted_content[16:])
        for position in range(len(message)):
            if position in positions_of(message, parts.encrypted_key) and position % 16:
                continue  # each costs an RSA operation, and all bytes of it are alike
            for flip in (0x01, 0x80, 0xFF):
                mutated = bytearray(message)
                mutated[position] ^= flip
                try:
                    plaintext = recipient_key.open_ciphertext_for_recipient(bytes(mutated))
                except CmsError:
                    continue
                assert plaintext == PLAINTEXT or position in malleable  # CBC is malleable by nature, and there only

    @given(data=st.data())
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_rewritten_stretch_never_gives_another_error(
        self, message: bytes, recipient_key: RecipientKey, data: st.DataObject
    ) -> None:
        start = data.draw(st.integers(0, len(message)))
        end = data.draw(st.integers(start, min(len(message), start + 20)))
        mutated = message[:start] + data.draw(st.binary(max_size=20)) + message[end:]
        try:
            recipient_key.open_ciphertext_for_recipient(mutated)
        except CmsError:
            return

    @given(st.binary(max_size=100))
    def test_arbitrary_bytes_give_only_cms_errors(self, data: bytes) -> None:
        assert refusal_of(data)


class TestOneTextForKeyAndPaddingFailures:
    def test_another_key(self, recipient_key: RecipientKey, other_recipient_key: RecipientKey) -> None:
        shape = replace(KMS_SHAPE, is_named_by_key=False)
        assert failure_of(other_recipient_key, seal(recipient_key, PLAINTEXT, shape)) == CANNOT_OPEN

    @pytest.mark.parametrize("size", [0, 1, 255, 257, 512])
    def test_encrypted_key_of_another_size(self, recipient_key: RecipientKey, parts: Parts, size: int) -> None:
        assert failure_of(recipient_key, write_message(replace(parts, encrypted_key=b"\1" * size))) == CANNOT_OPEN

    @pytest.mark.parametrize("encrypted_key", [bytes(256), b"\xff" * 256, b"\0" * 255 + b"\1"])
    def test_encrypted_key_out_of_range(self, recipient_key: RecipientKey, parts: Parts, encrypted_key: bytes) -> None:
        assert failure_of(recipient_key, write_message(replace(parts, encrypted_key=encrypted_key))) == CANNOT_OPEN

    @pytest.mark.parametrize("size", [0, 1, 16, 24, 31, 33, 64])
    def test_content_key_of_another_size(self, recipient_key: RecipientKey, size: int) -> None:
        wrong = parts_for(recipient_key, PLAINTEXT, content_key=b"k" * size)
        assert failure_of(recipient_key, write_message(wrong)) == CANNOT_OPEN

    def test_key_encrypted_under_a_label(self, recipient_key: RecipientKey) -> None:
        labeled = parts_for(recipient_key, PLAINTEXT, label=b"label")
        assert failure_of(recipient_key, write_message(labeled)) == CANNOT_OPEN

    @pytest.mark.parametrize("last", [0, 17, 255])
    def test_padding_of_impossible_length(self, recipient_key: RecipientKey, last: int) -> None:
        wrong = parts_for(recipient_key, b"x" * 15 + bytes([last]), pad=False)
        assert failure_of(recipient_key, write_message(wrong)) == CANNOT_OPEN

    def test_padding_of_unequal_bytes(self, recipient_key: RecipientKey) -> None:
        wrong = parts_for(recipient_key, b"x" * 14 + b"\1\2", pad=False)
        assert failure_of(recipient_key, write_message(wrong)) == CANNOT_OPEN

    def test_failure_shows_no_byte_of_the_message(self, recipient_key: RecipientKey, parts: Parts) -> None:
        with pytest.raises(CmsError) as caught:
            recipient_key.open_ciphertext_for_recipient(write_message(replace(parts, encrypted_key=b"\1" * 256)))
        assert caught.value.__cause__ is None
        assert caught.value.hint is None


def nested_content(parts: Parts, depth: int) -> bytes:
    nested = b"\x24\x80" * depth + tlv(4, parts.encrypted_content) + b"\0\0" * depth
    flat = write_message(replace(parts, encrypted_content=b""))
    assert flat.count(b"\xa0\x80\4\0\4\0") == 1
    return flat.replace(b"\xa0\x80\4\0\4\0", b"\xa0\x80" + nested)


def positions_of(message: bytes, part: bytes) -> range:
    assert message.count(part) == 1
    return range(message.index(part), message.index(part) + len(part))
