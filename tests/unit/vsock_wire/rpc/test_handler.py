from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest

from vsock_wire.errors import ToolError, WireError
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.messages import ErrorReply
from vsock_wire.protocol.recording import is_recording, record
from vsock_wire.protocol.trace import Attested, Opened, encode_evidence
from vsock_wire.protocol.vocabulary import RequestError
from vsock_wire.rpc.handler import Outcome, RequestHandler, explained

ATTESTED = Attested(b"document", is_reused=False, elapsed_ms=1.5)
OPENED = Opened(ciphertext_for_recipient_bytes=493, key_identifier="ab" * 32, elapsed_ms=0.25)


class Echo(RequestHandler):
    """Answers with the request, or as ``outcome`` says, and remembers the requests in the order they were prepared."""

    service = "echo"
    independent_operations = frozenset({"Aside"})

    def __init__(self, outcome: Callable[[], Outcome] | None = None) -> None:
        self._outcome = outcome
        self.prepared: list[JsonObject] = []

    def prepare(self, message: JsonObject) -> Callable[[], Outcome]:
        self.prepared.append(message)
        return self._outcome or (lambda: {"Echo": message})

    def refuse(self, error: ToolError) -> ErrorReply:
        return ErrorReply(f"refused: {error}", service=self.service, hint=error.hint)


def raising(error: Exception) -> Callable[[], Outcome]:
    def perform() -> Outcome:
        raise error

    return perform


def answer(handler: RequestHandler, **message: object) -> JsonObject:
    return handler.take(json.dumps(message).encode()).answer()


class TestRequestHandler:
    def test_fields_become_a_reply_with_status_ok(self) -> None:
        assert answer(Echo(), Operation="X", n=1) == {"Status": "Ok", "Echo": {"Operation": "X", "n": 1}}

    @pytest.mark.parametrize("request_id", ["", "a-1", "x" * 64])
    def test_id_is_echoed_and_not_passed_on(self, request_id: str) -> None:
        handler = Echo()
        assert answer(handler, Operation="X", Id=request_id)["Id"] == request_id
        assert handler.prepared == [{"Operation": "X"}]

    def test_request_without_an_id_gets_a_reply_without_one(self) -> None:
        assert "Id" not in answer(Echo(), Operation="X")

    @pytest.mark.parametrize("frame", [b"", b"{", b"[]", b"null", b'{"Id":5}', b'{"Id":"%s"}' % (b"x" * 65), b"\xff"])
    def test_frame_other_than_a_request_is_refused_and_nothing_is_prepared(self, frame: bytes) -> None:
        handler = Echo()
        job = handler.take(frame)
        reply = job.answer()
        assert (reply["Status"], reply["Service"]) == ("Error", "echo")
        assert reply["Message"].startswith("refused: ")
        assert not job.is_independent
        assert handler.prepared == []

    def test_tool_error_is_reported_with_its_hint_and_the_id(self) -> None:
        handler = Echo(raising(WireError("broken", hint="mend it")))
        assert answer(handler, Operation="X", Id="7") == {
            "Status": "Error",
            "Message": "refused: broken",
            "Service": "echo",
            "Hint": "mend it",
            "Id": "7",
        }

    def test_refusal_that_is_returned_is_the_reply(self) -> None:
        handler = Echo(lambda: ErrorReply("no", "Code", tries=2))
        assert answer(handler) == {"Status": "Error", "Message": "no", "Code": "Code", "Tries": 2}

    @pytest.mark.parametrize("error", [KeyError("hunter2"), RuntimeError("hunter2"), OSError(5, "hunter2")])
    def test_bug_is_reported_without_its_text(
        self, error: Exception, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        caplog.set_level(logging.DEBUG)
        assert answer(Echo(raising(error)), Id="7") == {
            "Status": "Error",
            "Message": "Internal error",
            "Code": "InternalError",
            "Service": "echo",
            "Id": "7",
        }
        assert type(error).__name__ in caplog.text
        assert "hunter2" not in caplog.text + "".join(capfd.readouterr())

    @pytest.mark.parametrize(
        ("message", "is_independent"),
        [
            ({"Operation": "Aside", "Id": "1"}, True),
            ({"Operation": "Aside"}, False),
            ({"Operation": "X", "Id": "1"}, False),
            ({"Operation": ["Aside"], "Id": "1"}, False),
            ({"Id": "1"}, False),
        ],
    )
    def test_only_a_known_operation_with_an_id_is_independent(self, message: JsonObject, is_independent: bool) -> None:
        assert Echo().take(json.dumps(message).encode()).is_independent is is_independent

    def test_requests_are_prepared_when_they_are_taken_and_performed_when_answered(self) -> None:
        performed: list[str] = []

        class Ordered(Echo):
            def prepare(self, message: JsonObject) -> Callable[[], Outcome]:
                super().prepare(message)

                def perform() -> Outcome:
                    performed.append(message["n"])
                    return {}

                return perform

        handler = Ordered()
        jobs = [handler.take(json.dumps({"n": number}).encode()) for number in "ab"]
        assert [message["n"] for message in handler.prepared] == ["a", "b"]
        assert performed == []
        for job in reversed(jobs):
            job.answer()
        assert performed == ["b", "a"]

    @pytest.mark.parametrize("error", [None, WireError("broken"), KeyError("bug")])
    def test_steps_are_sent_with_any_reply(self, error: Exception | None) -> None:
        def perform() -> Outcome:
            record(OPENED)
            if error is not None:
                raise error
            return {}

        assert answer(Echo(perform), Explain=True)["Evidence"] == encode_evidence([OPENED])

    def test_explain_other_than_a_boolean_is_refused_with_the_id(self) -> None:
        reply = answer(Echo(raising(AssertionError("it was performed"))), Explain="yes", Id="7")
        assert (reply["Status"], reply["Id"]) == ("Error", "7")
        assert reply["Message"] == "refused: Explain: expected true or false, got str"


class TestExplained:
    def test_request_that_asks_gets_the_steps_after_the_reply(self) -> None:
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

    def test_evidence_already_in_the_reply_is_replaced(self) -> None:
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

    def test_recording_ends_if_the_answer_raises(self) -> None:
        def answer() -> JsonObject:
            raise WireError("broken")

        with pytest.raises(WireError, match="broken"):
            explained({"Explain": True}, answer)
        assert not is_recording()
