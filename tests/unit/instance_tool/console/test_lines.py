from __future__ import annotations

import io
import os
from base64 import b64encode, encodebytes

import pytest

from instance_tool.console.ciphertext import MAX_TEXT_BYTES
from instance_tool.console.lines import LineReader, WrappedLines
from vsock_wire.errors import InputError

CIPHERTEXT = bytes(range(185))


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


def refused(lines: list[bytes]) -> list[bool]:
    """Return for each line whether it is taken for a part of a wrapped ciphertext."""
    wrapped, answers = WrappedLines(), []
    for line in lines:
        try:
            wrapped.refuse(line)
            answers.append(False)
        except InputError as error:
            answers.append("wrapped into several lines" in str(error) and "base64 -w0" in (error.hint or ""))
    return answers


class TestWrappedLines:
    @pytest.mark.parametrize("width", [60, 64, 76])
    def test_every_line_of_a_wrapped_ciphertext_is_refused(self, width: int) -> None:
        text = b64encode(CIPHERTEXT)
        lines = [text[start : start + width] + b"\n" for start in range(0, len(text), width)]
        assert refused([*lines, *lines]) == [True] * 2 * len(lines)

    def test_wrapping_of_python_is_known(self) -> None:
        lines = encodebytes(CIPHERTEXT).splitlines(keepends=True)
        assert refused(lines) == [True] * len(lines)

    def test_whole_ciphertext_after_a_wrapped_one_is_not_refused(self) -> None:
        whole = b64encode(CIPHERTEXT) + b"\n"
        assert (
            refused([whole, *encodebytes(CIPHERTEXT).splitlines(), whole, whole]) == [False] + [True] * 4 + [False] * 2
        )

    @pytest.mark.parametrize(
        "line", [b"", b"\n", b"AQID", b"a" * 75, b"a" * 63 + b"=", b"a" * 60 + b"!!!!", b'{"a":1}']
    )
    def test_other_lines_are_not_refused(self, line: bytes) -> None:
        assert refused([line, line]) == [False, False]

    def test_empty_line_ends_a_wrapped_ciphertext(self) -> None:
        assert refused([b"a" * 64, b"", b"AQID"]) == [True, False, False]
