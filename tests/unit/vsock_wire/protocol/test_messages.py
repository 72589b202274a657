from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsock_wire.errors import WireError
from vsock_wire.protocol.json_codec import JsonObject, decode_base64, decode_message, encode_base64, encode_message
from vsock_wire.protocol.messages import (
    MAX_ID_CHARS,
    Credentials,
    ErrorReply,
    SetClient,
    parse_operation,
    parse_reply,
    parse_request_id,
    parse_set_client,
)
from vsock_wire.protocol.vocabulary import EnclaveCode, Operation, RequestError

KMSTOOL_SET_CLIENT = (
    rb'{ "Operation": "SetClient", "AwsAccessKeyId": "AKIDMOCK00000000TEST",'
    rb' "AwsSecretAccessKey": "mockSecret\/notARealOne+0000000000000000000",'
    rb' "AwsSessionToken": "mockSessionToken==", "AwsRegion": "us-east-1" }'
)
"""The bytes of kmstool's own instance program, with its escaped slash and its spaces."""
KMSTOOL_DECRYPT = rb'{ "Operation": "Decrypt", "Ciphertext": "AQID", "EncryptionContext": { "a": "1" } }'

CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI", "IQoJb3JpZ2lu", "2031-01-01T00:00:00Z")

json_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | json_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(json_text, inner, max_size=4),
    max_leaves=12,
)
json_objects = st.dictionaries(json_text, json_values, max_size=6)


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

    def test_reads_the_bytes_of_kmstools_own_instance(self) -> None:
        message = decode_message(KMSTOOL_SET_CLIENT)
        assert message["AwsSecretAccessKey"] == "mockSecret/notARealOne+0000000000000000000"
        assert parse_set_client(message).region == "us-east-1"
        assert parse_operation(decode_message(KMSTOOL_DECRYPT)) is Operation.DECRYPT

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

    def test_refuses_deep_nesting_that_is_closed_again(self) -> None:
        depth = sys.getrecursionlimit() * 3
        assert str(refusal_of(b'{"a":' + b"[" * depth + b"]" * depth + b"}")) == "Error reading JSON object"

    def test_refuses_an_integer_that_would_cost_quadratic_time(self) -> None:
        assert str(refusal_of(b'{"a":' + b"9" * 60_000 + b"}")) == "Error reading JSON object"

    @pytest.mark.parametrize("data", [b"[]", b'"text"', b"1", b"true", b'[{"Operation":"Decrypt"}]'])
    def test_tells_other_json_from_no_json(self, data: bytes) -> None:
        assert str(refusal_of(data)) == "JSON is wrong type"

    def test_answers_null_as_kmstool_does(self) -> None:
        assert str(refusal_of(b"null")) == "Error reading JSON object"

    def test_error_and_its_chain_quote_nothing_of_the_message(self) -> None:
        error = refusal_of(KMSTOOL_SET_CLIENT[:-2])
        assert error.code is EnclaveCode.INVALID_MESSAGE
        assert error.__cause__ is None
        assert error.__suppress_context__
        assert "mockSecret" not in f"{error!r} {error.hint}"


class TestParseOperation:
    @pytest.mark.parametrize("operation", list(Operation))
    def test_returns_a_known_operation(self, operation: Operation) -> None:
        assert parse_operation({"Operation": str(operation)}) is operation

    @pytest.mark.parametrize(
        ("message", "text"),
        [
            ({}, "JSON structure incomplete"),
            ({"operation": "Decrypt"}, "JSON structure incomplete"),
            ({"Operation": None}, "JSON structure incomplete"),
            ({"Operation": 1}, "Operation is wrong type"),
            ({"Operation": ["Decrypt"]}, "Operation is wrong type"),
            ({"Operation": True}, "Operation is wrong type"),
            ({"Operation": ""}, "Operation not recognized"),
            ({"Operation": "decrypt"}, "Operation not recognized"),
            ({"Operation": "Decrypt "}, "Operation not recognized"),
            ({"Operation": "Encrypt\x1b[2J" + "A" * 1_000}, "Operation not recognized"),
        ],
    )
    def test_refuses_with_kmstools_text(self, message: JsonObject, text: str) -> None:
        with pytest.raises(RequestError) as caught:
            parse_operation(message)
        assert str(caught.value) == text
        assert caught.value.hint is not None
        assert caught.value.hint.isprintable()
        assert len(caught.value.hint) < 250


class TestParseRequestId:
    @pytest.mark.parametrize("request_id", [None, "", "a", "x" * MAX_ID_CHARS, "\N{GRINNING FACE}" * MAX_ID_CHARS])
    def test_returns_the_id(self, request_id: str | None) -> None:
        assert parse_request_id({"Id": request_id}) == request_id

    def test_returns_none_without_an_id(self) -> None:
        assert parse_request_id({}) is None

    @pytest.mark.parametrize("request_id", ["x" * (MAX_ID_CHARS + 1), 1, 0, False, [], {}, 1.5])
    def test_refuses_what_is_no_short_string(self, request_id: object) -> None:
        with pytest.raises(RequestError, match=r"^Id is wrong type$"):
            parse_request_id({"Id": request_id})


class TestParseSetClient:
    message: JsonObject = SetClient(CREDENTIALS, "eu-west-1").to_message()

    def test_reads_what_the_instance_writes(self) -> None:
        assert parse_set_client(decode_message(encode_message(self.message))) == SetClient(CREDENTIALS, "eu-west-1")

    def test_optional_fields_are_left_out_rather_than_null(self) -> None:
        message = SetClient(Credentials("AKID", "secret")).to_message()
        assert list(message) == ["Operation", "AwsAccessKeyId", "AwsSecretAccessKey"]
        assert parse_set_client(message) == SetClient(Credentials("AKID", "secret"))

    @pytest.mark.parametrize("token", [None, ""])
    def test_takes_null_or_empty_token_for_none(self, token: str | None) -> None:
        assert parse_set_client({**self.message, "AwsSessionToken": token}).credentials.session_token is None

    @pytest.mark.parametrize("region", [None, ""])
    def test_takes_null_or_empty_region_for_none(self, region: str | None) -> None:
        assert parse_set_client({**self.message, "AwsRegion": region}).region is None

    @pytest.mark.parametrize("name", ["AwsAccessKeyId", "AwsSecretAccessKey"])
    @pytest.mark.parametrize("value", [None, "", 1, True, ["AKID"], {"a": "b"}])
    def test_refuses_a_key_that_is_no_text(self, name: str, value: object) -> None:
        with pytest.raises(RequestError, match=r"^Could not read credentials$") as caught:
            parse_set_client({**self.message, name: value})
        assert name in (caught.value.hint or "")

    @pytest.mark.parametrize("name", ["AwsAccessKeyId", "AwsSecretAccessKey"])
    def test_refuses_a_missing_key(self, name: str) -> None:
        with pytest.raises(RequestError, match=r"^Could not read credentials$"):
            parse_set_client({key: value for key, value in self.message.items() if key != name})

    @pytest.mark.parametrize("name", ["AwsSessionToken", "Expiration"])
    @pytest.mark.parametrize("value", [1, ["x"], {}, False])
    def test_refuses_an_optional_field_of_another_type(self, name: str, value: object) -> None:
        with pytest.raises(RequestError, match=r"^Could not read credentials$"):
            parse_set_client({**self.message, name: value})

    @pytest.mark.parametrize("region", [1, True, ["us-east-1"], {}])
    def test_refuses_a_region_of_another_type(self, region: object) -> None:
        with pytest.raises(RequestError, match=r"^Could not set region correctly, check configuration.$"):
            parse_set_client({**self.message, "AwsRegion": region})

    def test_ignores_unknown_fields(self) -> None:
        assert parse_set_client({**self.message, "Future": [1]}) == SetClient(CREDENTIALS, "eu-west-1")


class TestParseReply:
    @pytest.mark.parametrize(
        "reply",
        [
            ErrorReply("text"),
            ErrorReply("denied", "AccessDeniedException", "kms", 400, "6c0e-1", "look here"),
            ErrorReply(""),
        ],
    )
    def test_reads_the_error_that_the_enclave_writes(self, reply: ErrorReply) -> None:
        assert parse_reply(reply.to_message()) == reply

    def test_takes_kmstools_error_without_a_message(self) -> None:
        assert parse_reply({"Status": "Error"}) == ErrorReply("")

    @pytest.mark.parametrize("status", [None, "OK", "ok", "Ok ", "error", 0, True, ["Ok"], {}])
    def test_refuses_any_other_status(self, status: object) -> None:
        with pytest.raises(WireError, match=r"^reply: expected Status Ok or Error, got"):
            parse_reply({"Status": status})

    @pytest.mark.parametrize("name", ["Message", "Code", "Service", "RequestId", "Hint"])
    @pytest.mark.parametrize("value", [1, [], {}, False])
    def test_refuses_an_error_field_of_another_type(self, name: str, value: object) -> None:
        with pytest.raises(WireError, match=rf"^reply: {name}: expected a string, got"):
            parse_reply({"Status": "Error", name: value})

    @given(json_objects)
    def test_raises_nothing_but_wire_errors(self, message: JsonObject) -> None:
        with contextlib.suppress(WireError):
            parse_reply({**message, "Status": "Error"})


class TestBase64:
    @given(st.binary(max_size=100))
    def test_decode_returns_what_was_encoded(self, data: bytes) -> None:
        assert decode_base64(encode_base64(data)) == data

    @given(st.text(max_size=20) | json_values)
    def test_decode_raises_nothing_but_value_errors(self, text: Any) -> None:
        with contextlib.suppress(ValueError):
            assert isinstance(decode_base64(text), bytes)

    def test_error_of_decode_quotes_nothing(self) -> None:
        with pytest.raises(ValueError, match=r"^expected standard base64") as caught:
            decode_base64("a secret\u20ac")
        assert "secret" not in repr(caught.value)
        assert not isinstance(caught.value, UnicodeError)


class TestSecrets:
    @pytest.mark.parametrize(
        "shown",
        [
            repr(CREDENTIALS),
            str(CREDENTIALS),
            f"{CREDENTIALS}",
            f"{CREDENTIALS!r:>40}",
            "%s %r" % (CREDENTIALS, CREDENTIALS),  # noqa: UP031 - this way of formatting is what is tested
            repr(SetClient(CREDENTIALS, "us-east-1")),
            repr([{"c": CREDENTIALS}]),
            repr(dataclasses.replace(CREDENTIALS, expiration=None)),
            repr(ValueError(CREDENTIALS)),
        ],
    )
    def test_credentials_never_show(self, shown: str) -> None:
        for secret in ("AKIDEXAMPLE", "wJalrXUtnFEMI", "IQoJb3JpZ2lu"):
            assert secret not in shown
