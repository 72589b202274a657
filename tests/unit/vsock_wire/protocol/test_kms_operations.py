from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.kms.decrypting import decrypt_answer, decrypt_request, decrypt_result
from tests.support.wire.json_objects import json_text, json_values
from tests.support.wire.kmstool_messages import KMSTOOL_DECRYPT
from vsock_wire.errors import WireError
from vsock_wire.protocol.fields import Kind
from vsock_wire.protocol.json_codec import JsonObject, decode_message, encode_base64, encode_message
from vsock_wire.protocol.kms_operations import (
    DATA_KEY_HINT,
    KMS_OPERATIONS,
    MAX_CIPHERTEXT_BYTES,
    MAX_GRANT_TOKENS,
    KmsRequest,
    KmsResult,
    encode_kms_request,
    encode_kms_result,
    parse_kms_request,
    parse_kms_result,
)
from vsock_wire.protocol.vocabulary import Operation, RequestError


class TestParseDecrypt:
    @given(
        st.binary(min_size=1, max_size=200),
        st.dictionaries(json_text, json_text, max_size=4),
        st.none() | json_text.filter(bool),
        st.lists(json_text.filter(bool), max_size=MAX_GRANT_TOKENS),
    )
    def test_reads_what_the_instance_writes(
        self, ciphertext: bytes, context: dict[str, str], key_id: str | None, tokens: list[str]
    ) -> None:
        request = decrypt_request(ciphertext, context, key_id, "RSAES_OAEP_SHA_256" if key_id else None, tuple(tokens))
        assert (
            parse_kms_request(Operation.DECRYPT, decode_message(encode_message(encode_kms_request(request)))) == request
        )

    @pytest.mark.parametrize("context", [None, {}])
    def test_treats_a_null_or_empty_context_as_none(self, context: object) -> None:
        assert parse_kms_request(
            Operation.DECRYPT, {"Ciphertext": "AQID", "EncryptionContext": context}
        ) == decrypt_request(b"\1\2\3")

    @pytest.mark.parametrize("message", [{}, {"Ciphertext": None}, {"ciphertext": "AQID"}])
    def test_refuses_a_missing_ciphertext(self, message: JsonObject) -> None:
        with pytest.raises(RequestError, match=r"^Message does not contain a Ciphertext$"):
            parse_kms_request(Operation.DECRYPT, message)

    @pytest.mark.parametrize(
        "text",
        [
            "AQI",
            "AQID=",
            "AQID==",
            "AQ===",
            "AQ==ID",
            "AQ=D",
            "!QID",
            "AQID\n",
            " AQID",
            "AQ_-",
            "AQ\u00e9D",
            1,
            True,
            ["AQID"],
            {},
        ],
    )
    def test_refuses_text_other_than_base64(self, text: object) -> None:
        with pytest.raises(RequestError, match=r"^Ciphertext not a base64 string$") as caught:
            parse_kms_request(Operation.DECRYPT, {"Ciphertext": text})
        assert str(text) not in (caught.value.hint or "") or len(str(text)) < 2

    def test_accepts_kmss_longest_ciphertext_but_no_longer_one(self) -> None:
        longest = bytes(MAX_CIPHERTEXT_BYTES)
        assert (
            parse_kms_request(Operation.DECRYPT, {"Ciphertext": encode_base64(longest)}).parameters["CiphertextBlob"]
            == longest
        )
        with pytest.raises(RequestError, match=r"^Could not decrypt ciphertext: .* got 6145$"):
            parse_kms_request(Operation.DECRYPT, {"Ciphertext": encode_base64(longest + b"\0")})

    def test_refuses_an_empty_ciphertext(self) -> None:
        with pytest.raises(RequestError, match=r"^Could not decrypt ciphertext: .* got 0$"):
            parse_kms_request(Operation.DECRYPT, {"Ciphertext": ""})

    def test_reads_a_context_that_is_the_json_text_of_an_object(self) -> None:
        message = {"Ciphertext": "AQID", "EncryptionContext": '{ "a": "1", "b": "x=y" }'}
        request = parse_kms_request(Operation.DECRYPT, message)
        assert request.parameters["EncryptionContext"] == {"a": "1", "b": "x=y"}
        assert (
            "EncryptionContext"
            not in parse_kms_request(Operation.DECRYPT, {**message, "EncryptionContext": "{}"}).parameters
        )

    @pytest.mark.parametrize(
        "context",
        [
            "a=1",
            "",
            "[]",
            "null",
            '{"a":1}',
            '{"a":"1"',
            "{'a':'1'}",
            1,
            0,
            False,
            [],
            [["a", "1"]],
            {"a": 1},
            {"a": None},
            {"a": {}},
        ],
    )
    def test_refuses_a_context_other_than_an_object_of_strings(self, context: object) -> None:
        with pytest.raises(RequestError, match=r"^Could not decrypt ciphertext: EncryptionContext: expected"):
            parse_kms_request(Operation.DECRYPT, {"Ciphertext": "AQID", "EncryptionContext": context})

    @pytest.mark.parametrize("name", ["KeyId", "EncryptionAlgorithm"])
    @pytest.mark.parametrize("value", ["", 1, False, [], {}])
    def test_refuses_a_text_field_of_another_type(self, name: str, value: object) -> None:
        with pytest.raises(RequestError, match=rf"^Could not decrypt ciphertext: {name}: expected"):
            parse_kms_request(Operation.DECRYPT, {"Ciphertext": "AQID", name: value})

    @pytest.mark.parametrize(
        "tokens", ["abc", {}, 1, False, [1], [None], ["x", 2], ["x"] * (MAX_GRANT_TOKENS + 1), [""]]
    )
    def test_refuses_malformed_grant_tokens(self, tokens: object) -> None:
        with pytest.raises(RequestError, match=r"^Could not decrypt ciphertext: GrantTokens: expected"):
            parse_kms_request(Operation.DECRYPT, {"Ciphertext": "AQID", "GrantTokens": tokens})

    @given(st.dictionaries(st.sampled_from(["Ciphertext", "EncryptionContext", "KeyId", "GrantTokens"]), json_values))
    def test_raises_nothing_but_request_errors(self, message: JsonObject) -> None:
        with contextlib.suppress(RequestError):
            parse_kms_request(Operation.DECRYPT, message)

    def test_reads_what_kmstool_writes(self) -> None:
        request = parse_kms_request(Operation.DECRYPT, decode_message(KMSTOOL_DECRYPT))
        assert request == decrypt_request(b"\1\2\3", {"a": "1"})


class TestParseDecryptResult:
    @given(st.binary(max_size=100), st.none() | json_text)
    def test_reads_what_the_enclave_writes(self, plaintext: bytes, key_id: str | None) -> None:
        result = decrypt_result(plaintext, key_id)
        assert (
            parse_kms_result(
                Operation.DECRYPT,
                decode_message(encode_message(encode_kms_result(Operation.DECRYPT, decrypt_answer(plaintext, key_id)))),
            )
            == result
        )

    @pytest.mark.parametrize("fields", [{}, {"Message": None}, {"Message": 1}, {"Message": "secret!"}])
    def test_refuses_a_message_that_is_not_base64_without_quoting_it(self, fields: JsonObject) -> None:
        with pytest.raises(
            WireError, match=r"^reply: Message: (missing$|expected base64 text|not standard base64)"
        ) as caught:
            parse_kms_result(Operation.DECRYPT, fields)
        assert "secret" not in str(caught.value)

    def test_refuses_a_key_id_of_another_type(self) -> None:
        with pytest.raises(WireError, match=r"^reply: KeyId: expected a string, got int$"):
            parse_kms_result(Operation.DECRYPT, {"Message": "AQID", "KeyId": 1})

    def test_plaintext_does_not_show(self) -> None:
        shown = repr(decrypt_result(b"the plaintext", "key"))
        assert "the plaintext" not in shown
        assert "dGhlIHBsYWludGV4dA" not in shown


VALUES = {
    Kind.TEXT: "text",
    Kind.TEXTS: ("one", "two"),
    Kind.BYTES: b"\1\2",
    Kind.NUMBER: 32,
    Kind.CONTEXT: {"a": "1"},
    Kind.FLAG: True,
}


@pytest.mark.parametrize("operation", KMS_OPERATIONS)
class TestEveryOperation:
    def test_request_with_every_field_arrives_as_it_was_sent(self, operation: Operation) -> None:
        fields = KMS_OPERATIONS[operation].request
        request = KmsRequest(operation, {spec.parameter: VALUES[spec.kind] for spec in fields})
        message = decode_message(encode_message(encode_kms_request(request)))
        assert message["Operation"] == operation
        assert parse_kms_request(operation, message) == request

    def test_request_without_a_required_field_is_refused(self, operation: Operation) -> None:
        fields = KMS_OPERATIONS[operation].request
        required = [spec for spec in fields if spec.is_required]
        assert required
        whole = encode_kms_request(KmsRequest(operation, {spec.parameter: VALUES[spec.kind] for spec in fields}))
        for spec in required:
            message = {name: value for name, value in whole.items() if name != spec.name}
            with pytest.raises(RequestError, match=spec.name):
                parse_kms_request(operation, message)

    def test_field_of_a_wrong_type_is_refused_by_name(self, operation: Operation) -> None:
        fields = KMS_OPERATIONS[operation].request
        whole = encode_kms_request(KmsRequest(operation, {spec.parameter: VALUES[spec.kind] for spec in fields}))
        for spec in fields:
            for wrong in (
                1 if spec.kind is Kind.FLAG else True,
                [1],
                {"a": 1},
                "" if spec.kind is not Kind.CONTEXT else "x",
            ):
                with pytest.raises(RequestError, match=spec.name):
                    parse_kms_request(operation, {**whole, spec.name: wrong})

    def test_value_over_its_limit_is_refused(self, operation: Operation) -> None:
        for spec in KMS_OPERATIONS[operation].request:
            if spec.most is None:
                continue
            fields = KMS_OPERATIONS[operation].request
            parameters = {other.parameter: VALUES[other.kind] for other in fields}
            over = {Kind.BYTES: bytes(spec.most + 1), Kind.NUMBER: spec.most + 1, Kind.TEXTS: ("t",) * (spec.most + 1)}
            request = KmsRequest(operation, {**parameters, spec.parameter: over[spec.kind]})
            with pytest.raises(RequestError, match=str(spec.most)):
                parse_kms_request(operation, encode_kms_request(request))

    def test_only_too_long_a_plaintext_has_a_hint(self, operation: Operation) -> None:
        for spec in KMS_OPERATIONS[operation].request:
            if spec.kind is not Kind.BYTES or spec.name == "Ciphertext" or spec.most is None:
                continue
            required = {other.parameter: VALUES[other.kind] for other in KMS_OPERATIONS[operation].request}
            for size in (0, spec.most + 1):
                request = {**encode_kms_request(KmsRequest(operation, required)), spec.name: encode_base64(bytes(size))}
                with pytest.raises(RequestError) as caught:
                    parse_kms_request(operation, request)
                is_long_plaintext = size > 0 and spec.name == "Plaintext"
                assert caught.value.hint == (DATA_KEY_HINT if is_long_plaintext else None)

    def test_reply_arrives_as_kms_sent_it(self, operation: Operation) -> None:
        spec = KMS_OPERATIONS[operation]
        answer = {field.parameter: VALUES[field.kind] for field in spec.reply}
        secret = None
        if spec.delivers:
            secret = answer[spec.delivers] = b"the secret"
        reply = decode_message(encode_message(encode_kms_result(operation, answer)))
        expected = {field.name: VALUES[field.kind] for field in spec.reply}
        assert parse_kms_result(operation, reply) == KmsResult(secret, expected)  # type: ignore[arg-type]

    def test_fields_of_kms_outside_the_table_are_not_sent(self, operation: Operation) -> None:
        spec = KMS_OPERATIONS[operation]
        answer = {"Plaintext": b"x", "PrivateKeyPlaintext": b"x", "SharedSecret": b"x", "ResponseMetadata": {}}
        reply = encode_kms_result(operation, answer)
        assert set(reply) == ({"Message"} if spec.delivers else set())


def test_parameters_do_not_show() -> None:
    assert "hunter2" not in repr(KmsRequest(Operation.ENCRYPT, {"Plaintext": b"hunter2"}))
