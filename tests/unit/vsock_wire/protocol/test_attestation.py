from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsock_wire.errors import WireError
from vsock_wire.protocol.attestation import (
    MAX_ATTESTED_BYTES,
    AttestationRequest,
    encode_attestation_request,
    parse_attestation_reply,
    parse_attestation_request,
)
from vsock_wire.protocol.json_codec import JsonObject, decode_message, encode_base64, encode_message
from vsock_wire.protocol.vocabulary import RequestError

FIELDS = st.none() | st.binary(max_size=MAX_ATTESTED_BYTES)


class TestAttestationRequest:
    @given(FIELDS, FIELDS, FIELDS, st.booleans())
    def test_arrives_as_it_was_sent(
        self, nonce: bytes | None, user_data: bytes | None, public_key: bytes | None, is_user_data_bare: bool
    ) -> None:
        request = AttestationRequest(nonce, user_data, public_key, is_user_data_bare)
        message = decode_message(encode_message(encode_attestation_request(request)))
        assert parse_attestation_request(message) == request

    @pytest.mark.parametrize("value", [5, "!", [], {}, encode_base64(bytes(MAX_ATTESTED_BYTES + 1))])
    def test_refuses_what_no_document_can_carry(self, value: object) -> None:
        for name in ("Nonce", "UserData", "PublicKey"):
            with pytest.raises(RequestError, match=r"^Could not get attestation document: "):
                parse_attestation_request({name: value})

    def test_no_bytes_are_a_value_and_null_is_none(self) -> None:
        no_bytes = AttestationRequest(b"", b"", b"")
        assert encode_attestation_request(no_bytes) == {
            "Operation": "GetAttestationDocument", "Nonce": "", "UserData": "", "PublicKey": "",
        }  # fmt: skip
        assert parse_attestation_request({"Nonce": "", "UserData": "", "PublicKey": ""}) == no_bytes
        null = {"Nonce": None, "UserData": None, "PublicKey": None, "BareUserData": None}
        assert parse_attestation_request(null) == parse_attestation_request({}) == AttestationRequest()

    @pytest.mark.parametrize("value", [0, 1, "true", "", [], {}])
    def test_refuses_a_flag_that_is_none(self, value: object) -> None:
        with pytest.raises(RequestError, match=r"BareUserData: expected true or false, got "):
            parse_attestation_request({"BareUserData": value})

    @pytest.mark.parametrize("reply", [{}, {"Document": ""}, {"Document": None}, {"Document": 5}, {"Document": "!"}])
    def test_reply_without_a_document_is_refused(self, reply: JsonObject) -> None:
        with pytest.raises(WireError, match=r"^reply: Document: "):
            parse_attestation_reply(reply)
