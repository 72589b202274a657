from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.wire.json_objects import json_objects, json_values
from tests.support.wire.kmstool_messages import KMSTOOL_DECRYPT, KMSTOOL_SET_CLIENT
from vsock_wire.protocol.json_codec import (
    MAX_DEPTH,
    JsonObject,
    decode_base64,
    decode_json,
    decode_message,
    encode_base64,
    encode_message,
)
from vsock_wire.protocol.vocabulary import EnclaveCode, RequestError


def depth_of(value: object) -> int:
    """Return the nesting depth of objects and arrays in ``value``."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def refusal_of(data: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decode_message(data)
    return caught.value


class TestDecodeMessage:
    @given(json_objects)
    def test_returns_what_was_encoded(self, message: JsonObject) -> None:
        assert decode_message(encode_message(message)) == message

    @given(json_objects)
    def test_takes_raw_utf_8_as_well_as_escapes(self, message: JsonObject) -> None:
        assert decode_message(json.dumps(message, ensure_ascii=False).encode("utf-8")) == message

    @given(json_objects)
    def test_encoded_message_is_one_line_without_nul(self, message: JsonObject) -> None:
        encoded = encode_message(message)
        assert b"\0" not in encoded
        assert b"\n" not in encoded

    @given(st.binary(max_size=60))
    def test_raises_nothing_but_request_errors(self, data: bytes) -> None:
        with contextlib.suppress(RequestError):
            assert isinstance(decode_message(data), dict)

    @given(json_objects, st.integers(0, 200), st.binary(max_size=3))
    def test_raises_nothing_but_request_errors_on_damaged_json(
        self, message: JsonObject, position: int, damage: bytes
    ) -> None:
        encoded = encode_message(message)
        with contextlib.suppress(RequestError):
            decode_message(encoded[:position] + damage + encoded[position + len(damage) :])

    @pytest.mark.parametrize("data", [KMSTOOL_SET_CLIENT, KMSTOOL_DECRYPT])
    def test_reads_the_bytes_of_kmstools_own_instance(self, data: bytes) -> None:
        assert decode_message(data) == json.loads(data)

    @pytest.mark.parametrize("data", [KMSTOOL_SET_CLIENT, KMSTOOL_DECRYPT])
    def test_refuses_every_truncation(self, data: bytes) -> None:
        for length in range(len(data)):
            assert str(refusal_of(data[:length])) == "Error reading JSON object"

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b" ",
            b"{",
            b"{}{}",
            b"{} x",
            b"{},",
            b'{"a":1,}',
            b"{'a':1}",
            b"{a:1}",
            b'{"a":1 /* c */}',
            b'{"a":1e400}',
            b'{"a":[-1e999]}',
            b'{"a":NaN}',
            b'{"a":[Infinity]}',
            b'{"a":{"b":-Infinity}}',
            b'{"a":01}',
            b'{"a":+1}',
            b'{"a":"\t"}',
            b'{"a":"\\x41"}',
            b'\xef\xbb\xbf{"a":1}',
            '{"a":1}'.encode("utf-16"),
            b'{"a":"\xff"}',
            b'{"a":"\xc0\x80"}',
            b'{"a":"\xed\xa0\x80"}',
            b'{"a":"\\ud800"}',
            b'{"a":"\\udc00\\ud800"}',
            b'{"\\ud800":1}',
            b'{"a":[{"b":["\\udfff"]}]}',
        ],
    )
    def test_refuses_what_is_not_strict_json(self, data: bytes) -> None:
        assert str(refusal_of(data)) == "Error reading JSON object"

    @pytest.mark.parametrize(
        "data",
        [
            b'{"a":1,"a":1}',
            b'{"a":1,"\\u0061":2}',
            b'{"x":{"y":{"a":1,"a":2}}}',
            b'{"x":[0,[{"a":null,"b":1,"a":null}]]}',
            b'{"Operation":"Decrypt","Ciphertext":"AQID","Ciphertext":"BAUG"}',
        ],
    )
    def test_refuses_a_duplicate_key_at_any_depth(self, data: bytes) -> None:
        assert str(refusal_of(data)) == "Error reading JSON object"

    def test_takes_a_surrogate_pair(self) -> None:
        assert decode_message(b'{"a":"\\ud83d\\ude00"}') == {"a": "\N{GRINNING FACE}"}

    def test_takes_an_escaped_backslash_before_u(self) -> None:
        assert decode_message(b'{"a":"\\\\ud800"}') == {"a": "\\ud800"}

    @pytest.mark.parametrize("bracket", [b"[", b'{"a":', b'[{"a":'])
    def test_refuses_nesting_too_deep_for_the_parser(self, bracket: bytes) -> None:
        assert str(refusal_of(bracket * 10_000)) == "Error reading JSON object"

    @pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
    def test_takes_nesting_up_to_the_limit_and_refuses_one_more(self, opening: str, closing: str) -> None:
        assert decode_json(opening * MAX_DEPTH + "1" + closing * MAX_DEPTH)
        with pytest.raises(ValueError, match=r"^nested deeper than 32$"):
            decode_json(opening * (MAX_DEPTH + 1) + "1" + closing * (MAX_DEPTH + 1))

    @pytest.mark.parametrize(
        "text", ["[" * 1_000, "{[" * 500 + "]", '"' + "[" * 1_000, '\\"' + "{" * 1_000, "\\" * 9 + "["]
    )
    @pytest.mark.parametrize("depth", [1, MAX_DEPTH])
    def test_brackets_in_strings_do_not_count(self, text: str, depth: int) -> None:
        value = [text, {text: text}] if depth > 1 else [text]
        encoded = "[" * (depth - 2) + json.dumps(value) + "]" * (depth - 2)
        assert decode_json(encoded)
        with pytest.raises(ValueError, match=r"^nested deeper than 32$"):
            decode_json("[" * MAX_DEPTH + encoded + "]" * MAX_DEPTH)

    def test_many_brackets_next_to_each_other_are_not_nesting(self) -> None:
        assert decode_json("[" + "[],{}," * 1_000 + "[]]") == [*[[], {}] * 1_000, []]

    @given(st.text('[]{}"\\\\a,:1 ', max_size=60))
    def test_what_is_read_is_what_python_reads(self, text: str) -> None:
        with contextlib.suppress(ValueError):
            value = decode_json(text)
            assert value == json.loads(text)
            assert depth_of(value) <= MAX_DEPTH

    @pytest.mark.parametrize(
        "text", ['"' + '\\"' * 32_000, '"' * 65_536, '{"a":"' + "[" * 65_000, "[]," * 21_000, "\\" * 65_536]
    )
    def test_text_built_to_cost_much_time_costs_little(self, text: str) -> None:
        started = time.thread_time()
        with pytest.raises(ValueError, match=r"^[A-Z]"):  # the parser's own, which comes after the count
            decode_json(text)
        assert time.thread_time() - started < 1.0  # some milliseconds; quadratic time would be many seconds

    def test_refuses_deep_nesting_that_is_closed_again(self) -> None:
        depth = sys.getrecursionlimit() * 3
        assert str(refusal_of(b'{"a":' + b"[" * depth + b"]" * depth + b"}")) == "Error reading JSON object"

    def test_refuses_an_integer_that_would_cost_quadratic_time(self) -> None:
        assert str(refusal_of(b'{"a":' + b"9" * 60_000 + b"}")) == "Error reading JSON object"

    @pytest.mark.parametrize("data", [b"[]", b'"text"', b"1", b"true", b'[{"Operation":"Decrypt"}]'])
    def test_distinguishes_other_json_from_malformed_json(self, data: bytes) -> None:
        assert str(refusal_of(data)) == "JSON is wrong type"

    def test_answers_null_as_kmstool_does(self) -> None:
        assert str(refusal_of(b"null")) == "Error reading JSON object"

    def test_error_and_its_chain_quote_nothing_of_the_message(self) -> None:
        error = refusal_of(KMSTOOL_SET_CLIENT[:-2])
        assert error.code is EnclaveCode.INVALID_MESSAGE
        assert error.__cause__ is None
        assert error.__suppress_context__
        assert "mockSecret" not in f"{error!r} {error.hint}"


class TestBase64:
    @given(st.binary(max_size=100))
    def test_decode_returns_what_was_encoded(self, data: bytes) -> None:
        assert decode_base64(encode_base64(data)) == data

    @given(st.text(max_size=20) | json_values)
    def test_decode_raises_nothing_but_value_errors(self, text: Any) -> None:
        with contextlib.suppress(ValueError):
            assert isinstance(decode_base64(text), bytes)

    def test_error_of_decode_quotes_nothing(self) -> None:
        with pytest.raises(ValueError, match=r"^not standard base64") as caught:
            decode_base64("a secret\u20ac")
        assert "secret" not in repr(caught.value)
        assert not isinstance(caught.value, UnicodeError)
