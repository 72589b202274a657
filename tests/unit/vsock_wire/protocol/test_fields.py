from __future__ import annotations

from typing import Any

import pytest

from vsock_wire.errors import WireError
from vsock_wire.protocol.fields import Field, FieldError, Kind, encode_plain, read_named_field, reply_bytes
from vsock_wire.protocol.vocabulary import RequestError

FIELDS = {
    Kind.TEXT: Field("F", Kind.TEXT),
    Kind.TEXTS: Field("F", Kind.TEXTS, 2),
    Kind.BYTES: Field("F", Kind.BYTES, 3),
    Kind.NUMBER: Field("F", Kind.NUMBER, 5),
    Kind.CONTEXT: Field("F", Kind.CONTEXT),
}


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        (Kind.TEXT, "text", "text"),
        (Kind.TEXTS, ["a", "b"], ("a", "b")),
        (Kind.TEXTS, [], None),
        (Kind.BYTES, "AQID", b"\1\2\3"),
        (Kind.NUMBER, 1, 1),
        (Kind.NUMBER, 5, 5),
        (Kind.CONTEXT, {"a": "", "": "b"}, {"a": "", "": "b"}),
        (Kind.CONTEXT, {}, None),
    ],
)
def test_value_of_its_kind_is_read_as_boto3_takes_it(kind: Kind, value: object, read: object) -> None:
    assert read_named_field(FIELDS[kind], {"F": value}) == read


REFUSED: dict[Kind, list[Any]] = {
    Kind.TEXT: ["", 1, True, ["a"], {}],
    Kind.TEXTS: ["ab", ["a", ""], ["a", 1], ["a", "b", "c"], {"a": "b"}],
    Kind.BYTES: ["", "AQI", "AQIDBA==", "AQ\n==", 1, ["AQID"]],
    Kind.NUMBER: [0, 6, -1, 1.0, "1", True],
    Kind.CONTEXT: ["a=b", [["a", "b"]], {"a": 1}, {"a": None}, {"a": {"b": "c"}}],
}


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in REFUSED.items() for value in values])
def test_malformed_value_is_refused_by_name_and_not_quoted(kind: Kind, value: Any) -> None:
    with pytest.raises(FieldError, match=r"^F: (expected |not standard base64)") as caught:
        read_named_field(FIELDS[kind], {"F": value})
    assert repr(value) not in str(caught.value)


@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("message", [{}, {"F": None}])
def test_absent_field_is_none_and_an_error_if_it_is_required(kind: Kind, message: dict[str, None]) -> None:
    assert read_named_field(FIELDS[kind], message) is None
    with pytest.raises(FieldError, match=r"^F: required, but missing$"):
        read_named_field(FIELDS[kind]._replace(is_required=True), message)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "Message does not contain a Ciphertext"), ("AQI", "Ciphertext not a base64 string")],
)
def test_errors_about_the_ciphertext_have_kmstools_texts(value: str | None, text: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_named_field(Field("Ciphertext", Kind.BYTES, 3, is_required=True), {"Ciphertext": value})
    assert str(caught.value) == text


def test_parameter_is_kmss_name_where_there_is_one() -> None:
    assert Field("Ciphertext", Kind.BYTES, kms_name="CiphertextBlob").parameter == "CiphertextBlob"
    assert Field("KeyId", Kind.TEXT).parameter == "KeyId"


@pytest.mark.parametrize(("value", "plain"), [(("a", "b"), ["a", "b"]), ({"a": "b"}, {"a": "b"}), ("a", "a"), (5, 5)])
def test_plain_value_is_what_json_has(value: object, plain: object) -> None:
    assert encode_plain(value) == plain


class TestReplyBytes:
    def test_are_read_and_none_where_absent(self) -> None:
        assert reply_bytes({"F": "AQID"}, "F") == b"\1\2\3"
        assert reply_bytes({"F": ""}, "F") == b""
        assert reply_bytes({}, "F") is reply_bytes({"F": None}, "F") is None

    @pytest.mark.parametrize("value", ["AQI", 1, False, ["AQID"], {}])
    def test_malformed_values_are_refused_by_name(self, value: object) -> None:
        with pytest.raises(WireError, match=r"^reply: F: (expected base64 text, got|not standard base64)"):
            reply_bytes({"F": value}, "F")
