from __future__ import annotations

import contextlib
import io
import os
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance_tool.console.ciphertext import MAX_TEXT_BYTES, LineReader, parse_ciphertext, read_ciphertext
from vsock_wire.errors import ExitCode, InputError
from vsock_wire.protocol.kms_operations import MAX_CIPHERTEXT_BYTES

LONGEST = b64encode(bytes(MAX_CIPHERTEXT_BYTES))


class TestParseCiphertext:
    @given(st.binary(min_size=1, max_size=200))
    def test_returns_what_was_encoded(self, ciphertext: bytes) -> None:
        assert parse_ciphertext(b64encode(ciphertext)) == ciphertext

    @pytest.mark.parametrize("text", [b"AQID\n", b" AQID ", b"AQ\nID\r\n", b"A Q I D", b"\tAQ\x0bID\x0c"])
    def test_spaces_and_line_breaks_are_ignored(self, text: bytes) -> None:
        assert parse_ciphertext(text) == b"\1\2\3"

    @pytest.mark.parametrize("text", [b"", b" ", b"\n\n"])
    def test_empty_input_says_so(self, text: bytes) -> None:
        with pytest.raises(InputError, match=r"^CIPHERTEXT: empty$") as caught:
            parse_ciphertext(text)
        assert caught.value.exit_code is ExitCode.USAGE

    @pytest.mark.parametrize(
        "text", [b"AQI", b"AQID=", b"AQ_-", b"=", b"AQID\0", b"\xff\xfe", b"\xc3\xa9AQID", b"AQ==AQ=="]
    )
    def test_other_text_says_so_without_quoting_it(self, text: bytes) -> None:
        with pytest.raises(InputError, match=r"^CIPHERTEXT: not standard base64 with padding$") as e:
            parse_ciphertext(text)
        assert "base64 -w0" in (e.value.hint or "")

    def test_longest_is_accepted_and_one_more_byte_is_not(self) -> None:
        assert parse_ciphertext(LONGEST) == bytes(MAX_CIPHERTEXT_BYTES)
        with pytest.raises(InputError, match=r"^CIPHERTEXT: expected at most 6144 bytes, got 6145$"):
            parse_ciphertext(b64encode(bytes(MAX_CIPHERTEXT_BYTES + 1)))

    @given(st.binary(max_size=50))
    def test_raises_nothing_but_input_errors(self, text: bytes) -> None:
        with contextlib.suppress(InputError):
            parse_ciphertext(text)


class TestReadCiphertext:
    def test_takes_the_whole_stream(self) -> None:
        wrapped = b"\n".join(LONGEST[i : i + 76] for i in range(0, len(LONGEST), 76)) + b"\n"
        assert read_ciphertext(io.BytesIO(wrapped)) == bytes(MAX_CIPHERTEXT_BYTES)

    def test_endless_stream_is_refused_after_the_limit(self) -> None:
        class Endless(io.RawIOBase):
            given = 0

            def readable(self) -> bool:
                return True

            def read(self, size: int = -1) -> bytes:
                assert 0 < size <= MAX_TEXT_BYTES + 1
                self.given += size
                return b"A" * size

        stream = Endless()
        with pytest.raises(InputError, match=r"^CIPHERTEXT: longer than 65536 bytes of base64 text$"):
            read_ciphertext(stream)  # type: ignore[arg-type] # has the used part of BinaryIO
        assert stream.given <= MAX_TEXT_BYTES + 1


class TestReadLines:
    def test_yields_each_line(self) -> None:
        assert list(LineReader(io.BytesIO(b"a\nb\n\nlast"))) == [b"a\n", b"b\n", b"\n", b"last"]

    def test_empty_stream_has_no_line(self) -> None:
        assert list(LineReader(io.BytesIO(b""))) == []

    @pytest.mark.parametrize("length", [MAX_TEXT_BYTES, MAX_TEXT_BYTES + 1, MAX_TEXT_BYTES * 3 + 7])
    def test_too_long_line_is_an_error_in_its_place_and_the_next_one_is_read(self, length: int) -> None:
        before, too_long, after = LineReader(io.BytesIO(b"a\n" + b"x" * length + b"\nb\n"))
        assert (before, after) == (b"a\n", b"b\n")
        assert isinstance(too_long, InputError)

    def test_too_long_line_at_the_end_is_an_error(self) -> None:
        (too_long,) = LineReader(io.BytesIO(b"x" * (MAX_TEXT_BYTES + 1)))
        assert isinstance(too_long, InputError)

    def test_line_at_the_limit_is_a_line(self) -> None:
        line = b"x" * (MAX_TEXT_BYTES - 1) + b"\n"
        assert list(LineReader(io.BytesIO(line * 2))) == [line] * 2

    def test_lines_are_yielded_as_they_arrive(self) -> None:
        read_end, write_end = os.pipe()
        with os.fdopen(read_end, "rb") as stream, os.fdopen(write_end, "wb", buffering=0) as writer:
            lines = LineReader(stream)
            assert not lines.is_ready()
            writer.write(b"a\nb")
            assert lines.is_ready()
            assert next(lines) == b"a\n"
            assert not lines.is_ready()  # half a line does not count
            writer.write(b"c\n" + b"x" * (MAX_TEXT_BYTES - 20_000))
            assert next(lines) == b"bc\n"
            assert not lines.is_ready()
            writer.write(b"x" * 30_000)
            assert not lines.is_ready()
            writer.write(b"\nlast")
            assert lines.is_ready()
            assert isinstance(next(lines), InputError)
            assert not lines.is_ready()
            writer.close()
            assert lines.is_ready()
            assert list(lines) == [b"last"]
