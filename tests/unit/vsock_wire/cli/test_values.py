from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsock_wire.cli.values import (
    parse_base64,
    parse_hex,
    parse_seconds,
    parse_text,
    parse_timeout,
)
from vsock_wire.errors import ExitCode, InputError
from vsock_wire.protocol.json_codec import encode_base64

NOT_UTF_8 = "a=\udcff"
"""How Python represents an argument that is not UTF-8."""


class TestParseSeconds:
    @pytest.mark.parametrize("text", ["0", "0.5", "86400", 30.0])
    def test_takes_a_time(self, text: str | float) -> None:
        assert parse_seconds(text) == float(text)

    @pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1", "1e20", "86401", "", "x", "1 s"])
    def test_refuses_times_that_no_clock_can_wait_for(self, text: str) -> None:
        with pytest.raises(InputError, match=r"^seconds: expected a number from 0 to 86400, got"):
            parse_seconds(text)


class TestParseTimeout:
    @pytest.mark.parametrize("text", ["0.001", "1", 86_400])
    def test_takes_a_time(self, text: str | float) -> None:
        assert parse_timeout(text) == float(text)

    @pytest.mark.parametrize("text", ["0", "0.0009", "1e-9"])
    def test_refuses_a_time_so_short_that_a_socket_would_not_wait(self, text: str) -> None:
        with pytest.raises(InputError, match=r"^timeout: expected at least 0\.001 seconds, got "):
            parse_timeout(text)

    def test_refuses_text_other_than_a_number(self) -> None:
        with pytest.raises(InputError, match=r"^seconds: expected a number"):
            parse_timeout("soon")


class TestParseText:
    @pytest.mark.parametrize("text", ["", "plain", "\u00e9\u4e2d", "\U0001f600"])
    def test_text_that_can_be_sent_stays_as_it_is(self, text: str) -> None:
        assert parse_text(text) == text

    def test_argument_that_is_not_utf_8_is_refused(self) -> None:
        with pytest.raises(InputError, match=r"^argument: expected UTF-8 text, got ") as caught:
            parse_text(NOT_UTF_8)
        assert caught.value.exit_code is ExitCode.USAGE
        assert str(caught.value).isprintable()


class TestParseBase64:
    @given(st.binary(max_size=100), st.integers(1, 20))
    def test_blanks_and_line_breaks_are_ignored(self, data: bytes, line_chars: int) -> None:
        text = encode_base64(data)
        lines = [text[start : start + line_chars] for start in range(0, len(text), line_chars)]
        assert parse_base64("it", "\r\n ".join(lines).encode("ascii")) == data

    @pytest.mark.parametrize("text", [b"AQI", b"secret-_", b"AQID====", b"\xff\xfe", "\u00e9".encode()])
    def test_other_text_is_refused_and_not_quoted(self, text: bytes) -> None:
        with pytest.raises(InputError, match=r"^it: not standard base64 with padding$") as caught:
            parse_base64("it", text)
        assert caught.value.hint


class TestParseHex:
    @pytest.mark.parametrize(("text", "data"), [("", b""), ("00", b"\0"), ("00fF", b"\0\xff")])
    def test_takes_both_cases_and_no_bytes(self, text: str, data: bytes) -> None:
        assert parse_hex("--nonce", text, max_bytes=2) == data

    @pytest.mark.parametrize("text", ["0", "0x00", "zz", "\u0660\u0660", "00 ff", "00\n"])
    def test_other_text_is_refused(self, text: str) -> None:
        with pytest.raises(InputError, match=r"^--nonce: expected two hexadecimal digits per byte"):
            parse_hex("--nonce", text, max_bytes=2)

    def test_size_has_its_bound(self) -> None:
        with pytest.raises(InputError, match=r"^--nonce: expected at most 2 bytes, got 3$"):
            parse_hex("--nonce", "000000", max_bytes=2)
