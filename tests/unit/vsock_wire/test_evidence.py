from __future__ import annotations

import dataclasses
import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsock_wire.errors import WireError
from vsock_wire.evidence import (
    EVIDENCE,
    MAX_STEPS,
    MAX_TEXT_CHARS,
    Attested,
    EnclaveStep,
    KmsAnswered,
    Opened,
    TlsConnected,
    cut_text,
    encode_evidence,
    explained,
    is_recording,
    parse_evidence,
    record,
    recording,
)
from vsock_wire.messages import JsonObject, RequestError

OPENED = Opened(493, "ab" * 32, 0.5)
ATTESTED = Attested(b"document", is_reused=False, elapsed_ms=1.5)
ANSWERED = KmsAnswered(6_000, 700, 200, "an id", 12.0)
CONNECTED = TlsConnected(
    "vsock://3:8000", "kms.example", "TLSv1.3", "A_CIPHER", "kms.example", "O=An issuer", is_kept=False, elapsed_ms=3.0
)
STEPS = (ATTESTED, CONNECTED, ANSWERED, OPENED)
VALUES = {
    "bytes": st.binary(min_size=1, max_size=64),
    "str": st.text(max_size=MAX_TEXT_CHARS),
    "bool": st.booleans(),
    "int": st.integers(0, 1 << 40),
    "float": st.floats(0, 1e9),
}


def any_step() -> st.SearchStrategy[EnclaveStep]:
    kinds: list[st.SearchStrategy[Any]] = [
        st.builds(type(step), **{field.name: VALUES[str(field.type)] for field in dataclasses.fields(step)})
        for step in STEPS
    ]
    return st.one_of(*kinds)


def sent(*steps: object) -> JsonObject:
    """Return a reply with the evidence as a peer gets it."""
    reply: JsonObject = json.loads(json.dumps({"Status": "Ok", EVIDENCE: encode_evidence(steps)}))
    return reply


@given(st.lists(any_step(), max_size=MAX_STEPS))
def test_steps_come_out_as_they_went_in(steps: list[EnclaveStep]) -> None:
    assert parse_evidence(sent(*steps)) == steps


def test_what_is_no_step_of_the_enclave_does_not_travel() -> None:
    assert parse_evidence(sent("the instance's own", OPENED, object())) == [OPENED]


def test_reply_without_evidence_has_no_steps() -> None:
    assert parse_evidence({"Status": "Ok"}) == []


def test_steps_of_an_unknown_kind_are_left_out() -> None:
    reply = sent(OPENED)
    reply[EVIDENCE] += [{"Step": "Foreseen"}, {"Step": None}, {}]
    assert parse_evidence(reply) == [OPENED]


@pytest.mark.parametrize("evidence", [None, "x", {}, [1], [[]], [{}] * (MAX_STEPS + 1)])
def test_what_is_no_list_of_steps_is_refused(evidence: object) -> None:
    with pytest.raises(WireError, match=f"reply: {EVIDENCE}: expected at most {MAX_STEPS} objects"):
        parse_evidence({EVIDENCE: evidence})


WRONG: dict[str, list[Any]] = {
    "bytes": [None, 1, "no base64", ["QQ=="]],
    "str": [None, 1, ["x"], "x" * (MAX_TEXT_CHARS + 1)],
    "bool": [None, 0, 1, "true"],
    "int": [None, True, -1, 1.0, "1"],
    "float": [None, True, -0.1, float("inf"), float("nan"), "1"],
}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_every_field_that_is_wrong_or_missing_is_refused_by_name(step: EnclaveStep) -> None:
    for field in dataclasses.fields(step):
        name = "".join(part.capitalize() for part in field.name.split("_"))
        for wrong in WRONG[str(field.type)]:
            reply = sent(step)
            reply[EVIDENCE][0][name] = wrong
            with pytest.raises(WireError, match=f": {name}: expected a {field.type}"):
                parse_evidence(reply)


def test_text_is_cut_to_what_a_step_may_hold() -> None:
    assert cut_text("x" * 1_000) == "x" * MAX_TEXT_CHARS
    assert cut_text(None) == "None"


class TestRecording:
    def test_gathers_in_order_until_its_end(self) -> None:
        assert not is_recording()
        with recording() as steps:
            assert is_recording()
            record(ATTESTED)
            record(OPENED)
        record(ANSWERED)
        assert steps == [ATTESTED, OPENED]

    def test_inner_one_keeps_its_steps_to_itself(self) -> None:
        with recording() as outer:
            record(ATTESTED)
            with recording() as inner:
                record(OPENED)
            record(ANSWERED)
        assert (outer, inner) == ([ATTESTED, ANSWERED], [OPENED])

    def test_takes_nothing_of_other_threads(self) -> None:
        with recording() as steps:
            thread = threading.Thread(target=record, args=(OPENED,))
            thread.start()
            thread.join()
        assert steps == []


class TestExplained:
    def test_reply_has_the_steps_where_they_are_asked_for(self) -> None:
        def answer() -> JsonObject:
            record(OPENED)
            return {"Status": "Error"}

        reply = explained({"Explain": True}, answer)
        assert (reply["Status"], parse_evidence(reply)) == ("Error", [OPENED])

    @pytest.mark.parametrize("message", [{}, {"Explain": False}])
    def test_reply_is_left_alone_where_they_are_not(self, message: JsonObject) -> None:
        assert explained(message, lambda: {"Recording": is_recording()}) == {"Recording": False}

    @pytest.mark.parametrize("value", [None, 1, "true", []])
    def test_anything_but_true_and_false_is_refused(self, value: object) -> None:
        with pytest.raises(RequestError, match="Explain: expected true or false"):
            explained({"Explain": value}, dict)
