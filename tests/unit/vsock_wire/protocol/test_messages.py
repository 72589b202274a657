from __future__ import annotations

import contextlib
import dataclasses

import pytest
from hypothesis import given

from tests.support.wire.json_objects import json_objects
from tests.support.wire.kmstool_messages import KMSTOOL_DECRYPT, KMSTOOL_SET_CLIENT
from vsock_wire.errors import WireError
from vsock_wire.protocol.json_codec import JsonObject, decode_message, encode_message
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
from vsock_wire.protocol.vocabulary import Operation, RequestError

CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI", "IQoJb3JpZ2lu", "2031-01-01T00:00:00Z")


def test_requests_of_kmstools_own_instance_are_read() -> None:
    message = decode_message(KMSTOOL_SET_CLIENT)
    assert message["AwsSecretAccessKey"] == "mockSecret/notARealOne+0000000000000000000"
    assert parse_set_client(message).region == "us-east-1"
    assert parse_operation(decode_message(KMSTOOL_DECRYPT)) is Operation.DECRYPT


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
    def test_refuses_anything_but_a_short_string(self, request_id: object) -> None:
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
    def test_treats_a_null_or_empty_token_as_none(self, token: str | None) -> None:
        assert parse_set_client({**self.message, "AwsSessionToken": token}).credentials.session_token is None

    @pytest.mark.parametrize("region", [None, ""])
    def test_treats_a_null_or_empty_region_as_none(self, region: str | None) -> None:
        assert parse_set_client({**self.message, "AwsRegion": region}).region is None

    @pytest.mark.parametrize("name", ["AwsAccessKeyId", "AwsSecretAccessKey"])
    @pytest.mark.parametrize("value", [None, "", 1, True, ["AKID"], {"a": "b"}])
    def test_refuses_a_key_other_than_text(self, name: str, value: object) -> None:
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
            ErrorReply("denied", "AccessDeniedException", "kms", reason="NoSessionPolicyAllows"),
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

    @pytest.mark.parametrize("name", ["Message", "Code", "Reason", "Service", "RequestId", "Hint"])
    @pytest.mark.parametrize("value", [1, [], {}, False])
    def test_refuses_an_error_field_of_another_type(self, name: str, value: object) -> None:
        with pytest.raises(WireError, match=rf"^reply: {name}: expected a string, got"):
            parse_reply({"Status": "Error", name: value})

    @given(json_objects)
    def test_raises_nothing_but_wire_errors(self, message: JsonObject) -> None:
        with contextlib.suppress(WireError):
            parse_reply({**message, "Status": "Error"})


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
