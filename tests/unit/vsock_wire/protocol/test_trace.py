from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsock_wire.errors import WireError
from vsock_wire.protocol.json_codec import JsonObject, decode_message, encode_message
from vsock_wire.protocol.trace import (
    MAX_NUMBER,
    MAX_STEPS,
    MAX_TEXT_CHARS,
    Attested,
    EnclaveStep,
    KmsAnswered,
    Opened,
    TlsConnected,
    cut_text,
    encode_evidence,
    parse_evidence,
)

ATTESTED = Attested(b"document", is_reused=False, elapsed_ms=1.5)
TLS = TlsConnected("vsock://3:8000", "kms.host", "TLSv1.3", "AES", "kms.host", "CN=issuer", False, 7.25)
ANSWERED = KmsAnswered(sent_bytes=500, received_bytes=700, http_status=200, request_id="id", elapsed_ms=40.0)
OPENED = Opened(ciphertext_for_recipient_bytes=493, key_identifier="ab" * 32, elapsed_ms=0.25)
STEPS: tuple[EnclaveStep, ...] = (ATTESTED, TLS, ANSWERED, OPENED)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=MAX_TEXT_CHARS)
numbers = st.integers(0, MAX_NUMBER)
times_ms = st.floats(0, MAX_NUMBER)
any_step = st.one_of(
    st.builds(Attested, st.binary(max_size=200), st.booleans(), times_ms),
    st.builds(TlsConnected, texts, texts, texts, texts, texts, texts, st.booleans(), times_ms),
    st.builds(KmsAnswered, numbers, numbers, numbers, texts, times_ms),
    st.builds(Opened, numbers, texts, times_ms),
)


def encoded(step: EnclaveStep, **changed: Any) -> JsonObject:
    """Return a reply with one step, some of its fields changed; a change to ... takes the field out."""
    fields = {**encode_evidence([step])[0], **changed}
    return {"Status": "Ok", "Evidence": [{name: value for name, value in fields.items() if value is not ...}]}


class TestOnTheWire:
    @given(st.lists(any_step, max_size=5))
    def test_every_step_survives_encoding_and_parsing(self, steps: list[EnclaveStep]) -> None:
        reply = decode_message(encode_message({"Status": "Ok", "Evidence": encode_evidence(steps)}))
        assert parse_evidence(reply) == steps

    def test_field_names_are_those_of_the_protocol(self) -> None:
        assert encode_evidence([OPENED, ATTESTED]) == [
            {
                "Step": "Opened",
                "CiphertextForRecipientBytes": 493,
                "KeyIdentifier": "ab" * 32,
                "ElapsedMs": 0.25,
            },
            {"Step": "Attested", "Document": "ZG9jdW1lbnQ=", "IsReused": False, "ElapsedMs": 1.5},
        ]

    def test_other_recorded_steps_are_not_sent(self) -> None:
        assert parse_evidence({"Evidence": encode_evidence(["a step of the instance", OPENED, None])}) == [OPENED]

    def test_reply_without_evidence_has_no_steps(self) -> None:
        assert parse_evidence({"Status": "Ok"}) == []

    @pytest.mark.parametrize("name", ["Rebooted", "opened", "", None, 5, ["Opened"], {"Opened": 1}, ...])
    def test_step_of_an_unknown_kind_is_ignored(self, name: object) -> None:
        reply = encoded(OPENED, Step=name)
        reply["Evidence"] += encode_evidence([ANSWERED])
        assert parse_evidence(reply) == [ANSWERED]

    def test_unknown_field_is_ignored(self) -> None:
        assert parse_evidence(encoded(OPENED, More="of a newer enclave")) == [OPENED]

    def test_maximum_number_of_steps_is_accepted_and_one_more_is_refused(self) -> None:
        most = encode_evidence([OPENED]) * MAX_STEPS
        assert len(parse_evidence({"Evidence": most})) == MAX_STEPS
        with pytest.raises(WireError, match="reply: Evidence: expected a list of at most 64 objects"):
            parse_evidence({"Evidence": [*most, most[0]]})

    @pytest.mark.parametrize("evidence", [None, {}, "Opened", 1, True, [None], [[]], ["Opened"], [{}, 5]])
    def test_anything_but_a_list_of_objects_is_refused(self, evidence: object) -> None:
        with pytest.raises(WireError, match="reply: Evidence: expected a list of at most 64 objects"):
            parse_evidence({"Evidence": evidence})


def _refused_values() -> list[Any]:
    number: list[Any] = [
        None,
        "1",
        True,
        False,
        -1,
        -1.0,
        MAX_NUMBER + 1,
        10**400,
        float("nan"),
        float("inf"),
        [],
        {},
        ...,
    ]
    by_type: dict[str, list[Any]] = {
        "bytes": [None, 5, True, "no base64!", "QQ", "QUI=\n", "Q\0==", "é", [], {}, ...],
        "str": [None, 5, True, [], {}, "x" * (MAX_TEXT_CHARS + 1), ...],
        "bool": [None, 0, 1, "true", [], {}, ...],
        "int": [*number, 1.0],
        "float": number,
    }
    return [
        pytest.param(step, field.name, value, id=f"{type(step).__name__}-{field.name}-{str(value)[:12]}")
        for step in STEPS
        for field in dataclasses.fields(step)
        for value in by_type[str(field.type)]
    ]


@pytest.mark.parametrize(("step", "name", "value"), _refused_values())
def test_malformed_field_is_refused_by_name(step: EnclaveStep, name: str, value: object) -> None:
    wire_name = name.title().replace("_", "")
    assert wire_name in encode_evidence([step])[0]
    with pytest.raises(WireError, match=rf'reply: Evidence: "{type(step).__name__}": {wire_name}: expected a '):
        parse_evidence(encoded(step, **{wire_name: value}))


@pytest.mark.parametrize("value", [0, 1, 2.5, MAX_NUMBER])
def test_milliseconds_may_be_whole(value: float) -> None:
    (step,) = parse_evidence(encoded(OPENED, ElapsedMs=value))
    assert step.elapsed_ms == value
    assert isinstance(step.elapsed_ms, float)


def test_cut_text_fits_into_a_step() -> None:
    step = dataclasses.replace(OPENED, key_identifier=cut_text("x" * 1_000))
    assert parse_evidence({"Evidence": encode_evidence([step])}) == [step]
    assert cut_text(None) == "None"
