from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsock_wire.errors import WireError
from vsock_wire.protocol.frames import MAX_MESSAGE_BYTES, MESSAGE_TOO_LARGE, FrameDecoder, encode_frame

messages = st.binary(max_size=40).map(lambda data: data.replace(b"\0", b"x"))


def drain(decoder: FrameDecoder) -> list[bytes | str]:
    """Return the frames that are ready, with the text of an error in the position of its frame."""
    results: list[bytes | str] = []
    while True:
        try:
            frame = decoder.next_frame()
        except WireError as error:
            results.append(str(error))
            continue
        if frame is None:
            return results
        results.append(frame)


def decode_pieces(pieces: list[bytes], max_message_bytes: int = MAX_MESSAGE_BYTES) -> list[bytes | str]:
    decoder = FrameDecoder(max_message_bytes)
    results: list[bytes | str] = []
    for piece in pieces:
        decoder.feed(piece)
        results += drain(decoder)
    return results


class CountingBuffer(bytearray):
    """Counts the bytes that ``find`` scans."""

    scanned = 0

    def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        assert end is None
        found = super().find(sub, start)
        self.scanned += (found + 1 if found >= 0 else len(self)) - start
        return found


class TestEncodeFrame:
    def test_ends_the_message_with_one_nul(self) -> None:
        assert encode_frame(b"{}") == b"{}\0"

    def test_accepts_a_message_at_the_limit_but_no_longer_one(self) -> None:
        assert len(encode_frame(b"x" * MAX_MESSAGE_BYTES)) == MAX_MESSAGE_BYTES + 1
        with pytest.raises(WireError, match=r"^message: expected at most 65536 bytes, got 65537$"):
            encode_frame(b"x" * (MAX_MESSAGE_BYTES + 1))

    @pytest.mark.parametrize("message", [b"\0", b"a\0", b"\0a", b"a\0b"])
    def test_refuses_a_nul_inside(self, message: bytes) -> None:
        with pytest.raises(ValueError, match="NUL"):
            encode_frame(message)


class TestFrameDecoder:
    stream = b'{"a":1}\0{}\0\0{"Operation":"Decrypt"}\0'
    frames = [b'{"a":1}', b"{}", b"", b'{"Operation":"Decrypt"}']  # noqa: RUF012 - never changed

    def test_reads_whole_input(self) -> None:
        assert decode_pieces([self.stream]) == self.frames

    def test_reads_byte_by_byte(self) -> None:
        assert decode_pieces([bytes([byte]) for byte in self.stream]) == self.frames

    def test_reads_input_split_at_every_position(self) -> None:
        for position in range(len(self.stream) + 1):
            assert decode_pieces([self.stream[:position], self.stream[position:]]) == self.frames

    def test_gives_only_whole_frames_of_input_truncated_at_every_length(self) -> None:
        for length in range(len(self.stream)):
            decoder = FrameDecoder()
            decoder.feed(self.stream[:length])
            results = drain(decoder)
            assert results == self.frames[: self.stream[:length].count(b"\0")]
            assert decoder.is_mid_message == (length > 0 and self.stream[length - 1] != 0)

    def test_keeps_trailing_bytes_for_the_next_frame(self) -> None:
        decoder = FrameDecoder()
        decoder.feed(b"{}\0{")
        assert drain(decoder) == [b"{}"]
        assert decoder.is_mid_message
        decoder.feed(b"}\0")
        assert drain(decoder) == [b"{}"]
        assert not decoder.is_mid_message

    @given(st.lists(messages, max_size=5), st.lists(st.integers(0, 200), max_size=6))
    def test_returns_what_was_encoded_however_it_is_cut(self, sent: list[bytes], cuts: list[int]) -> None:
        stream = b"".join(map(encode_frame, sent))
        edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        assert decode_pieces([stream[start:end] for start, end in pairwise(edges)]) == sent

    @given(st.lists(st.binary(max_size=30), max_size=8), st.integers(1, 20))
    def test_never_holds_more_than_the_limit_nor_raises_anything_else(self, pieces: list[bytes], limit: int) -> None:
        decoder = FrameDecoder(limit)
        for piece in pieces:
            decoder.feed(piece)
            assert all(result == MESSAGE_TOO_LARGE or len(result) <= limit for result in drain(decoder))
            assert len(decoder._buffer) <= limit

    @given(st.lists(st.binary(max_size=30), max_size=8), st.integers(1, 20))
    def test_answers_each_message_of_a_stream_exactly_once(self, pieces: list[bytes], limit: int) -> None:
        sent = b"".join(pieces).split(b"\0")
        expected = [message if len(message) <= limit else MESSAGE_TOO_LARGE for message in sent[:-1]]
        if len(sent[-1]) > limit:
            expected.append(MESSAGE_TOO_LARGE)
        assert decode_pieces(pieces, limit) == expected

    def test_takes_a_message_at_the_limit(self) -> None:
        assert decode_pieces([b"x" * MAX_MESSAGE_BYTES, b"\0"]) == [b"x" * MAX_MESSAGE_BYTES]

    def test_rejects_a_frame_as_soon_as_it_exceeds_the_limit(self) -> None:
        assert decode_pieces([b"x" * MAX_MESSAGE_BYTES, b"x"]) == ["Message size too large."]

    @pytest.mark.parametrize(
        "pieces", [[b"x" * 11 + b"\0{}\0"], [b"x" * 11, b"xx", b"\0{}\0"], [b"x" * 30, b"\0", b"{}\0"]]
    )
    def test_continues_after_a_frame_over_the_limit(self, pieces: list[bytes]) -> None:
        assert decode_pieces(pieces, 10) == [MESSAGE_TOO_LARGE, b"{}"]

    def test_reports_an_endless_message_once_and_stays_small(self) -> None:
        decoder = FrameDecoder(10)
        results = []
        for _ in range(100):
            decoder.feed(b"x" * 1_000)
            results += drain(decoder)
            assert decoder.is_mid_message
            assert len(decoder._buffer) == 0
        assert results == [MESSAGE_TOO_LARGE]

    def test_sender_of_single_bytes_costs_linear_time(self) -> None:
        decoder = FrameDecoder()
        buffer = CountingBuffer()
        decoder._buffer = buffer
        message = b"x" * MAX_MESSAGE_BYTES
        for byte in message:
            decoder.feed(bytes([byte]))
            assert decoder.next_frame() is None
        decoder.feed(b"\0")
        assert decoder.next_frame() == message
        assert buffer.scanned == MAX_MESSAGE_BYTES + 1

    def test_limit_hint_names_the_limit(self) -> None:
        decoder = FrameDecoder(10)
        decoder.feed(b"x" * 11)
        with pytest.raises(WireError) as caught:
            decoder.next_frame()
        assert caught.value.hint == "expected at most 10 bytes before the NUL byte"
