from __future__ import annotations

import io
import os
from base64 import b64encode, encodebytes

import pytest

from instance_tool.console.ciphertext import MAX_TEXT_BYTES
from instance_tool.console.lines import LineReader, WrappedLines
from instance_tool.errors import EnclaveError
from vsock_wire.errors import InputError, ToolError, TransportError
from vsock_wire.protocol.messages import ErrorReply

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


FAULTS = (
    InputError("CIPHERTEXT: base64 text that is cut short"),
    EnclaveError(ErrorReply("Could not decrypt ciphertext", "InvalidCiphertextException", "kms")),
    EnclaveError(ErrorReply("Could not decrypt ciphertext")),
)
"""How a part of a ciphertext fails: here, at KMS, and in kmstool in C."""


def explained(lines: list[bytes], fault: ToolError | None = FAULTS[0]) -> list[bool]:
    """Return for each line, all of which fail, whether it is taken for a part of a wrapped ciphertext."""
    wrapped, answers = WrappedLines(), []
    for number, line in enumerate(lines, start=1):
        wrapped.note(number, line)
    for number in range(1, len(lines) + 1):
        error = wrapped.explain(number, fault)
        assert error is not None
        assert error is fault or "wrapped into several lines" in str(error)
        assert error is fault or "base64 -w0" in (error.hint or "")
        answers.append(error is not fault)
    return answers


class TestWrappedLines:
    @pytest.mark.parametrize("fault", FAULTS)
    @pytest.mark.parametrize("width", [60, 64, 76])
    def test_every_line_of_a_wrapped_ciphertext_is_explained(self, width: int, fault: ToolError) -> None:
        text = b64encode(CIPHERTEXT)
        lines = [text[start : start + width] + b"\n" for start in range(0, len(text), width)]
        assert explained([*lines, *lines], fault) == [True] * 2 * len(lines)

    def test_wrapping_of_python_is_known(self) -> None:
        lines = encodebytes(CIPHERTEXT).splitlines(keepends=True)
        assert explained(lines) == [True] * len(lines)

    def test_whole_ciphertext_that_fails_after_a_wrapped_one_is_not_explained(self) -> None:
        whole = b64encode(CIPHERTEXT) + b"\n"
        lines = [whole, *encodebytes(CIPHERTEXT).splitlines(), whole, whole]
        assert explained(lines) == [False] + [True] * 4 + [False] * 2

    @pytest.mark.parametrize("line", [b"", b"\n", b"AQID", b"a" * 75, b"a" * 63 + b"=", b"a" * 61 + b"!", b'{"a":1}'])
    def test_other_lines_are_not_explained(self, line: bytes) -> None:
        assert explained([line, line]) == [False, False]

    def test_empty_line_ends_a_wrapped_ciphertext(self) -> None:
        assert explained([b"a" * 64, b"", b"AQID"]) == [True, False, False]

    def test_line_that_did_not_fail_counts_as_whole_whatever_its_width(self) -> None:
        wrapped = WrappedLines()
        wrapped.note(1, b"a" * 76)
        wrapped.note(2, b"AQID")
        assert wrapped.explain(1, None) is None
        assert wrapped.explain(2, FAULTS[0]) is FAULTS[0]

    @pytest.mark.parametrize(
        "error",
        [
            EnclaveError(ErrorReply("x", "AccessDeniedException", "kms")),
            TransportError("read from", "unix:/x", "closed"),
        ],
    )
    def test_failure_for_another_reason_is_not_explained(self, error: ToolError) -> None:
        assert explained([b"a" * 76, b"a" * 76], error) == [False, False]
