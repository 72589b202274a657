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


class TestAttestationRequest:
    @given(st.none() | st.binary(min_size=1, max_size=512), st.none() | st.binary(min_size=1, max_size=512))
    def test_arrives_as_it_was_sent(self, nonce: bytes | None, user_data: bytes | None) -> None:
        request = AttestationRequest(nonce, user_data)
        message = decode_message(encode_message(encode_attestation_request(request)))
        assert parse_attestation_request(message) == request

    @pytest.mark.parametrize("value", [5, "!", [], {}, encode_base64(bytes(MAX_ATTESTED_BYTES + 1))])
    def test_refuses_what_no_document_can_carry(self, value: object) -> None:
        for name in ("Nonce", "UserData"):
            with pytest.raises(RequestError, match=r"^Could not get attestation document: "):
                parse_attestation_request({name: value})

    @pytest.mark.parametrize("reply", [{}, {"Document": ""}, {"Document": None}, {"Document": 5}, {"Document": "!"}])
    def test_reply_without_a_document_is_refused(self, reply: JsonObject) -> None:
        with pytest.raises(WireError, match=r"^reply: Document: "):
            parse_attestation_reply(reply)
