from __future__ import annotations

import pytest

from vsock_wire.errors import WireError
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.recording import is_recording, record
from vsock_wire.protocol.trace import Attested, Opened, encode_evidence
from vsock_wire.protocol.vocabulary import RequestError
from vsock_wire.rpc.handler import explained

ATTESTED = Attested(b"document", is_reused=False, elapsed_ms=1.5)
OPENED = Opened(ciphertext_for_recipient_bytes=493, key_identifier="ab" * 32, elapsed_ms=0.25)


class TestExplained:
    def test_request_that_asks_gets_the_steps_behind_the_reply(self) -> None:
        def answer() -> JsonObject:
            record(ATTESTED)
            record("a step of the instance")
            record(OPENED)
            return {"Status": "Ok", "Message": "AQID"}

        reply = explained({"Explain": True}, answer)
        assert reply == {"Status": "Ok", "Message": "AQID", "Evidence": encode_evidence([ATTESTED, OPENED])}

    def test_request_that_asks_gets_them_with_a_refusal_too(self) -> None:
        def answer() -> JsonObject:
            record(ATTESTED)
            return {"Status": "Error"}

        assert explained({"Explain": True}, answer)["Evidence"] == encode_evidence([ATTESTED])

    def test_call_without_steps_has_an_empty_list(self) -> None:
        assert explained({"Explain": True}, lambda: {"Status": "Ok"}) == {"Status": "Ok", "Evidence": []}

    def test_evidence_that_the_reply_brings_along_is_replaced(self) -> None:
        assert explained({"Explain": True}, lambda: {"Evidence": "forged"}) == {"Evidence": []}

    @pytest.mark.parametrize("message", [{}, {"Explain": False}])
    def test_request_that_does_not_ask_gets_the_reply_as_it_is_and_nothing_is_recorded(
        self, message: JsonObject
    ) -> None:
        recorded: list[bool] = []

        def answer() -> JsonObject:
            recorded.append(is_recording())
            return {"Status": "Ok"}

        assert explained(message, answer) == {"Status": "Ok"}
        assert recorded == [False]

    @pytest.mark.parametrize("wanted", [None, 0, 1, "true", [], {}])
    def test_anything_but_a_boolean_is_refused_and_nothing_is_done(self, wanted: object) -> None:
        def answer() -> JsonObject:
            raise AssertionError("it was called")

        with pytest.raises(RequestError, match="Explain: expected true or false, got "):
            explained({"Explain": wanted}, answer)

    def test_recording_ends_where_the_answer_raises(self) -> None:
        def answer() -> JsonObject:
            raise WireError("broken")

        with pytest.raises(WireError, match="broken"):
            explained({"Explain": True}, answer)
        assert not is_recording()
