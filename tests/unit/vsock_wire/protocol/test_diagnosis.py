from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsock_wire.errors import TransportError, WireError
from vsock_wire.protocol.diagnosis import (
    MAX_ELAPSED_MS,
    MAX_HOP_TEXT_CHARS,
    MAX_HOPS,
    Diagnosis,
    Hop,
    HopName,
    HopState,
    encode_diagnosis,
    encode_diagnosis_request,
    parse_diagnosis,
)
from vsock_wire.protocol.json_codec import JsonObject

TEXT = st.text(max_size=MAX_HOP_TEXT_CHARS)
HOPS = st.builds(
    Hop,
    name=st.sampled_from(HopName),
    state=st.sampled_from(HopState),
    detail=TEXT,
    hint=st.none() | TEXT,
    elapsed_ms=st.none() | st.floats(0, MAX_ELAPSED_MS),
)


def sent(*hops: Hop, host: str = "kms.example") -> JsonObject:
    reply: JsonObject = json.loads(json.dumps({"Status": "Ok", **encode_diagnosis(host, hops)}))
    return reply


@given(st.lists(HOPS, max_size=MAX_HOPS), TEXT)
def test_hops_survive_encoding_and_parsing(hops: list[Hop], host: str) -> None:
    assert parse_diagnosis(sent(*hops, host=host)) == Diagnosis(host, tuple(hops))


@pytest.mark.parametrize(("region", "more"), [(None, {}), ("eu-west-1", {"AwsRegion": "eu-west-1"})])
def test_request_has_the_region_where_one_is_asked_for(region: str | None, more: JsonObject) -> None:
    assert encode_diagnosis_request(region) == {"Operation": "Diagnose", **more}


def test_error_becomes_a_failed_hop_with_its_hint() -> None:
    hop = Hop.failed(HopName.PROXY, TransportError("connect to", "vsock://3:8000", "refused", hint="start it"))
    assert hop == Hop(HopName.PROXY, HopState.FAILED, "connect to vsock://3:8000: refused", "start it")


def test_skipped_hop_names_the_one_before_it() -> None:
    assert Hop.skipped(HopName.TLS, HopName.PROXY).detail == "not checked, because proxy failed"


def test_long_text_is_truncated_before_it_is_sent() -> None:
    (hop,) = parse_diagnosis(sent(Hop(HopName.NSM, HopState.FAILED, "x" * 5_000, "y" * 5_000))).hops
    assert (hop.detail, hop.hint) == ("x" * MAX_HOP_TEXT_CHARS, "y" * MAX_HOP_TEXT_CHARS)


def test_hops_with_unknown_names_are_ignored() -> None:
    reply = sent(Hop(HopName.NSM, HopState.OK, "seen"))
    reply["Hops"] += [{"Hop": "foreseen"}, {"Hop": None}, {"Hop": []}, {}]
    assert [hop.name for hop in parse_diagnosis(reply).hops] == [HopName.NSM]


@pytest.mark.parametrize("hops", [None, "x", {}, [1], [None], [{}] * (MAX_HOPS + 1)])
def test_anything_but_a_list_of_hops_is_refused(hops: object) -> None:
    with pytest.raises(WireError, match=f"reply: Hops: expected a list of at most {MAX_HOPS} objects"):
        parse_diagnosis({"KmsHost": "x", "Hops": hops})


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("State", None), ("State", "fine"), ("State", 1), ("Detail", None), ("Detail", 1),
        ("Detail", "x" * (MAX_HOP_TEXT_CHARS + 1)), ("Hint", 1), ("Hint", "x" * (MAX_HOP_TEXT_CHARS + 1)),
        ("ElapsedMs", "1"), ("ElapsedMs", True), ("ElapsedMs", -1), ("ElapsedMs", float("inf")), ("ElapsedMs", 10**400),
        ("ElapsedMs", float("nan")),
    ],
)  # fmt: skip
def test_wrong_field_is_refused_by_name(field: str, wrong: object) -> None:
    reply = sent(Hop(HopName.NSM, HopState.OK, "seen", "hint", 1.0))
    reply["Hops"][0][field] = wrong
    with pytest.raises(WireError, match=f"reply: {field}: expected "):
        parse_diagnosis(reply)


@pytest.mark.parametrize("host", [None, 1, "x" * (MAX_HOP_TEXT_CHARS + 1)])
def test_host_other_than_text_is_refused(host: object) -> None:
    with pytest.raises(WireError, match="reply: KmsHost: expected "):
        parse_diagnosis({"KmsHost": host, "Hops": []})
