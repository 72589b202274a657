from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsock_wire.errors import WireError
from vsock_wire.protocol.delivery import (
    Delivery,
    encode_digest,
    encode_output,
    encode_secret,
    parse_delivery,
    parse_digest,
)
from vsock_wire.protocol.kms_operations import KmsResult, parse_kms_result
from vsock_wire.protocol.vocabulary import Operation


class TestEncoding:
    @given(st.binary(max_size=50))
    def test_secret_arrives_as_kmstool_has_it(self, secret: bytes) -> None:
        assert "Delivery" not in encode_secret(secret)
        assert parse_kms_result(Operation.DECRYPT, encode_secret(secret)) == KmsResult(secret, {})

    def test_digest_arrives_without_a_message(self) -> None:
        digest = hashlib.sha256(b"secret").hexdigest()
        fields = encode_digest(digest)
        assert fields == {"Delivery": "digest", "Digest": digest}
        assert (parse_delivery(fields), parse_digest(fields)) == (Delivery.DIGEST, digest)

    @given(st.binary(max_size=50))
    def test_output_arrives_apart_from_secrets(self, output: bytes) -> None:
        fields = encode_output(output)
        assert parse_delivery(fields) is Delivery.EXEC
        assert parse_kms_result(Operation.DECRYPT, fields) == KmsResult(None, {"Output": output})

    @pytest.mark.parametrize("reply", [{}, {"Delivery": None}, {"Delivery": ""}, {"Delivery": "reply"}])
    def test_reply_that_names_no_delivery_is_that_of_kmstool(self, reply: dict[str, str | None]) -> None:
        assert parse_delivery(reply) is Delivery.REPLY


class TestReplyOfADelivery:
    @pytest.mark.parametrize("digest", [None, "", "0" * 63, "0" * 65, "g" * 64, "A" * 64, "0" * 64 + "\n"])
    def test_with_a_digest_of_another_form_is_refused(self, digest: str | None) -> None:
        with pytest.raises(WireError, match=r"^reply: Digest: expected 64 hexadecimal digits"):
            parse_kms_result(Operation.DECRYPT, {"Delivery": "digest", "Digest": digest, "Message": "AQID"})

    @pytest.mark.parametrize("delivery", ["Digest", "none", "reply\n"])
    def test_with_a_delivery_of_another_name_is_refused(self, delivery: str) -> None:
        with pytest.raises(WireError, match=r"^reply: Delivery: expected one of reply, digest, exec"):
            parse_kms_result(Operation.DECRYPT, {"Delivery": delivery, "Message": "AQID"})

    def test_of_a_program_without_its_output_is_refused(self) -> None:
        with pytest.raises(WireError, match=r"^reply: Message: "):
            parse_kms_result(Operation.DECRYPT, {"Delivery": "exec"})
