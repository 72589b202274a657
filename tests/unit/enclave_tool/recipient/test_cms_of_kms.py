"""Messages of KMS's own shapes: a pattern reads them, and pyasn1 is the judge of what it reads."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_public_key
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enclave_tool.recipient.attested_key import RecipientKey
from enclave_tool.recipient.cms import MAX_CMS_BYTES, parse_enveloped_data, read_ber, read_kms_shape
from nitro_simulator.kms.recipient_cms import RecipientForm, seal_for_recipient
from tests.support.kms.ber_messages import tlv

PLAINTEXT = b"a plaintext of more than two AES blocks, so that it has segments"


def written_by_kms(key: RecipientKey, plaintext: bytes, form: RecipientForm = RecipientForm.KMS) -> bytes:
    public_key = load_der_public_key(key.public_key_der)
    assert isinstance(public_key, rsa.RSAPublicKey)
    return seal_for_recipient(plaintext, public_key, form=form)


@pytest.fixture(scope="module")
def kms_message(recipient_key: RecipientKey) -> bytes:
    return written_by_kms(recipient_key, PLAINTEXT)


@pytest.fixture(
    scope="module",
    params=[(RecipientForm.KMS, PLAINTEXT), (RecipientForm.PRIMITIVE, PLAINTEXT), (RecipientForm.KMS, bytes(2_050))],
    ids=["one segment", "primitive", "three segments"],
)
def of_kms(recipient_key: RecipientKey, request: pytest.FixtureRequest) -> bytes:
    form, plaintext = request.param
    return written_by_kms(recipient_key, plaintext, form)


def header_positions(message: bytes) -> list[int]:
    """Return where the tags and lengths of the content's segments are."""
    starts: list[int] = []
    start = message.find(b"\xa0\x80\x04") + 2
    while start > 1 and message[start] == 4:
        size = int.from_bytes(message[start + 2 : start + 4]) if message[start + 1] == 0x82 else message[start + 1]
        starts += range(start, start + 4)
        start += size + (4 if message[start + 1] == 0x82 else 2)
    return starts


def with_content(message: bytes, content: bytes, sizes: tuple[int, ...] = (1_000,) * 5) -> bytes:
    """Return a message of KMS's with other content, in segments of these sizes and a last one for the rest."""
    before, opening, after = message.rpartition(b"\xa0\x80\x04")
    ends = after[-10:]
    segments, start = [], 0
    for size in (*sizes, len(content)):
        if size == 0 or start < len(content):
            segments.append(tlv(4, content[start : start + size]))
        start += size
    return before + opening[:2] + b"".join(segments) + ends


class TestShape:
    """Whatever the pattern reads, pyasn1 must read with the same result."""

    @pytest.mark.parametrize("form", [RecipientForm.KMS, RecipientForm.PRIMITIVE])
    @pytest.mark.parametrize("size", [0, 15, 16, 111, 112, 128, 239, 240, 991, 992, 1_000, 1_999, 2_000, 4_096])
    def test_messages_of_kms_are_read_by_the_pattern(
        self, recipient_key: RecipientKey, size: int, form: RecipientForm
    ) -> None:
        ber = written_by_kms(recipient_key, bytes(size), form)
        assert read_kms_shape(ber) is not None
        assert read_kms_shape(ber) == read_ber(ber)

    @pytest.mark.parametrize("size", range(950, 5_100, 50))
    def test_content_in_segments_is_the_content_that_was_cut(self, kms_message: bytes, size: int) -> None:
        """Of any size: KMS encrypts at most 4,096 bytes, and a private key has about 2,400."""
        content = bytes(index % 251 for index in range(size // 16 * 16))
        ber = with_content(kms_message, content)
        if len(ber) <= MAX_CMS_BYTES:
            enveloped = read_kms_shape(ber)
            assert enveloped == read_ber(ber)
            assert enveloped is not None
            assert enveloped.encrypted_content == content

    def test_private_key_of_the_longest_key_pair_opens(self, recipient_key: RecipientKey) -> None:
        private_key = rsa.generate_private_key(65_537, 4_096)
        der = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        ber = written_by_kms(recipient_key, der)
        assert read_kms_shape(ber) is not None
        assert read_kms_shape(ber) == read_ber(ber)
        assert recipient_key.open_ciphertext_for_recipient(ber) == der

    @pytest.mark.parametrize("sizes", [(999, 9), (1_000, 1_000, 0, 16), (1_000, 16, 1_000), (24, 1_000), (1_001, 7)])
    def test_segments_of_other_sizes_are_left_to_pyasn1(self, kms_message: bytes, sizes: tuple[int, ...]) -> None:
        content = bytes(index % 251 for index in range(sum(sizes)))
        ber = with_content(kms_message, content, sizes)
        assert read_kms_shape(ber) is None
        assert parse_enveloped_data(ber).encrypted_content == content

    @pytest.mark.parametrize("bits", [3_072, 4_096])
    def test_of_longer_keys_too(self, bits: int) -> None:
        ber = written_by_kms(RecipientKey.generate(bits), PLAINTEXT)
        assert read_kms_shape(ber) is not None
        assert read_kms_shape(ber) == read_ber(ber)

    @pytest.mark.parametrize("form", [RecipientForm.SEGMENTED, RecipientForm.ISSUER_SERIAL])
    def test_other_shapes_are_left_to_pyasn1(self, recipient_key: RecipientKey, form: RecipientForm) -> None:
        ber = written_by_kms(recipient_key, PLAINTEXT, form)
        assert read_kms_shape(ber) is None
        assert parse_enveloped_data(ber) == read_ber(ber)

    def test_every_single_byte_change_gives_the_same_result_or_none(self, of_kms: bytes) -> None:
        read, headers = 0, header_positions(of_kms)
        for position in range(len(of_kms)):
            for change in (0x01, 0x80, 0xFF):
                mutated = bytearray(of_kms)
                mutated[position] ^= change
                enveloped = read_kms_shape(bytes(mutated))
                if enveloped is not None:
                    read += 1
                    if read % 16 == 0 or position in headers:  # of the many changes within a value, some
                        assert enveloped == read_ber(bytes(mutated))
        assert read > 900  # the identifier, the key, the IV and the content may hold anything

    @pytest.mark.parametrize("count", [1, 2, 16])
    def test_inserted_or_deleted_bytes_give_the_same_result_or_none(self, of_kms: bytes, count: int) -> None:
        for position in range(len(of_kms)):
            for mutated in (
                of_kms[:position] + bytes(count) + of_kms[position:],
                of_kms[:position] + of_kms[position + count :],
            ):
                enveloped = read_kms_shape(mutated)
                assert enveloped is None or enveloped == read_ber(mutated)

    @given(data=st.data())
    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_rewritten_headers_are_read_alike_or_not_at_all(self, of_kms: bytes, data: st.DataObject) -> None:
        headers = header_positions(of_kms) or range(20, 60)
        mutated = bytearray(of_kms)
        for _ in range(data.draw(st.integers(1, 4))):
            mutated[data.draw(st.sampled_from(headers))] = data.draw(st.sampled_from([0, 4, 0x7F, 0x80, 0x81, 0x82, 3]))
        enveloped = read_kms_shape(bytes(mutated))
        assert enveloped is None or enveloped == read_ber(bytes(mutated))

    @given(content=st.binary(max_size=300), cuts=st.lists(st.integers(0, 1_100), max_size=6))
    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_content_cut_anywhere_is_read_alike_or_not_at_all(
        self, kms_message: bytes, content: bytes, cuts: list[int]
    ) -> None:
        ber = with_content(kms_message, content * 8, tuple(cuts))
        enveloped = read_kms_shape(ber)
        assert enveloped is None or enveloped == read_ber(ber)

    @given(data=st.data())
    @settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_rewritten_stretches_give_the_same_result_or_none(self, of_kms: bytes, data: st.DataObject) -> None:
        position = data.draw(st.integers(0, len(of_kms) - 1))
        stretch = data.draw(st.binary(min_size=1, max_size=8))
        mutated = of_kms[:position] + stretch + of_kms[position + data.draw(st.integers(0, 8)) :]
        enveloped = read_kms_shape(mutated)
        assert enveloped is None or enveloped == read_ber(mutated)
