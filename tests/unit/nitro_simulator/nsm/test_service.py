"""The simulated NSM: every request, every limit, every error code, and documents that a verifier accepts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nitro_attestation.verification import verify_document
from nitro_simulator.nsm.service import MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, SimulatedNsm
from tests.support.attestation.simulated_nsm import (
    AUTHORITY,
    MODULE_ID,
    NOW,
    ZERO,
    ask,
    attest,
    describe,
    error,
)


def test_describe_nsm_returns_what_the_device_returns(nsm: SimulatedNsm) -> None:
    assert ask(nsm, "DescribeNSM") == {
        "DescribeNSM": {
            "version_major": 1,
            "version_minor": 0,
            "version_patch": 0,
            "module_id": MODULE_ID,
            "max_pcrs": 32,
            "locked_pcrs": list(range(16)),
            "digest": "SHA384",
        }
    }


def test_get_random_returns_256_fresh_bytes(nsm: SimulatedNsm) -> None:
    first, second = (ask(nsm, "GetRandom")["GetRandom"]["random"] for _ in range(2))
    assert len(first) == len(second) == 256
    assert first != second


def test_get_random_takes_its_bytes_from_the_given_source() -> None:
    nsm = SimulatedNsm(AUTHORITY, module_id=MODULE_ID, random_bytes=lambda size: b"\x55" * size)
    assert ask(nsm, "GetRandom") == {"GetRandom": {"random": b"\x55" * 256}}


def test_get_random_without_a_source_is_an_internal_error() -> None:
    def broken(_size: int) -> bytes:
        raise OSError("no entropy")

    nsm = SimulatedNsm(AUTHORITY, module_id=MODULE_ID, random_bytes=broken)
    assert ask(nsm, "GetRandom") == error("InternalError")
    assert "DescribeNSM" in ask(nsm, "DescribeNSM")


def test_requests_are_answered_one_at_a_time() -> None:
    both_inside, met = threading.Barrier(2), []

    def random_bytes(size: int) -> bytes:
        with contextlib.suppress(threading.BrokenBarrierError):
            both_inside.wait(timeout=0.2)  # ends at once if a second request is let in, otherwise by its timeout
            met.append(size)
        return bytes(size)

    nsm = SimulatedNsm(AUTHORITY, module_id=MODULE_ID, random_bytes=random_bytes)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: ask(nsm, "GetRandom"), range(2)))
    assert answers == [{"GetRandom": {"random": bytes(256)}}] * 2
    assert met == []


def test_document_verifies_and_contains_what_was_given(nsm: SimulatedNsm) -> None:
    document = attest(nsm, at=NOW, user_data=b"data", nonce=b"nonce", public_key=b"key")
    assert (document.user_data, document.nonce, document.public_key_der) == (b"data", b"nonce", b"key")
    assert (document.module_id, document.digest, document.issued_at) == (MODULE_ID, "SHA384", NOW)
    assert document.cabundle_der == AUTHORITY.cabundle_der
    assert not document.is_debug


@pytest.mark.parametrize("fields", [{}, {"user_data": None, "nonce": None, "public_key": None}, {"unknown": 1}])
def test_document_without_fields_has_null_for_them(nsm: SimulatedNsm, fields: dict[str, None]) -> None:
    document = attest(nsm, **fields)
    assert (document.user_data, document.nonce, document.public_key_der) == (None, None, None)


def test_document_treats_text_as_its_bytes(nsm: SimulatedNsm) -> None:
    document = ask(nsm, {"Attestation": {"user_data": "käse"}})["Attestation"]["document"]
    assert verify_document(document, root=AUTHORITY.root_sha256).user_data == "käse".encode()


def test_document_has_the_device_s_encoding(nsm: SimulatedNsm) -> None:
    document = ask(nsm, {"Attestation": {}})["Attestation"]["document"]
    assert document[:7].hex() == "8444a1013822a0"  # untagged; protected header only ES384, unprotected empty
    payload = cbor2.loads(document)[2]
    assert (payload[:1], payload[-1:]) == (b"\xbf", b"\xff")
    assert list(cbor2.loads(payload)) == [
        "module_id",
        "digest",
        "timestamp",
        "pcrs",
        "certificate",
        "cabundle",
        "public_key",
        "user_data",
        "nonce",
    ]


@pytest.mark.parametrize("name", ["user_data", "nonce", "public_key"])
def test_attestation_field_of_0_to_1024_bytes_is_accepted_and_a_longer_one_refused(
    nsm: SimulatedNsm, name: str
) -> None:
    attribute = "public_key_der" if name == "public_key" else name
    for size in (0, 1, 513, 1_024):
        fields: dict[str, Any] = {name: bytes(size)}
        assert getattr(attest(nsm, **fields), attribute) == bytes(size)
    assert getattr(attest(nsm), attribute) is None
    assert ask(nsm, {"Attestation": {name: bytes(1_025)}}) == error("InputTooLarge")


def test_attestation_with_every_field_at_its_limit_fits_the_response(nsm: SimulatedNsm) -> None:
    for index in range(16, 32):
        ask(nsm, {"LockPCR": {"index": index}})
    request = {"Attestation": {"user_data": bytes(1_024), "nonce": bytes(1_024), "public_key": bytes(1_024)}}
    answer = nsm.answer(cbor2.dumps(request))
    assert len(answer) <= MAX_RESPONSE_BYTES
    assert "Attestation" in cbor2.loads(answer)


@pytest.mark.parametrize("value", [0, True, [1, 2], {}, 1.5])
@pytest.mark.parametrize("name", ["user_data", "nonce", "public_key"])
def test_attestation_field_of_another_type_is_an_invalid_argument(nsm: SimulatedNsm, name: str, value: object) -> None:
    assert ask(nsm, {"Attestation": {name: value}}) == error("InvalidArgument")


def test_document_is_renewed_with_the_leaf() -> None:
    now = NOW
    nsm = SimulatedNsm(AUTHORITY, module_id=MODULE_ID, clock=lambda: now)
    first = attest(nsm, at=now)
    now += timedelta(hours=4)
    second = attest(nsm, at=now)
    assert second.issued_at - first.issued_at == timedelta(hours=4)
    assert second.certificate_der != first.certificate_der


def test_empty_module_id_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="module_id"):
        SimulatedNsm(AUTHORITY, module_id="")


@pytest.mark.parametrize("value", [-1, 0x1_0000, True, None, "16", b"\x10", 16.0, [16]])
@pytest.mark.parametrize(
    ("operation", "name"),
    [("DescribePCR", "index"), ("ExtendPCR", "index"), ("LockPCR", "index"), ("LockPCRs", "range")],
)
def test_number_of_another_type_or_width_is_an_invalid_argument(
    nsm: SimulatedNsm, operation: str, name: str, value: object
) -> None:
    assert ask(nsm, {operation: {name: value, "data": b""}}) == error("InvalidArgument")


@pytest.mark.parametrize("data", [None, 5, [1], {}])
def test_extend_with_anything_but_bytes_is_an_invalid_argument(nsm: SimulatedNsm, data: object) -> None:
    assert ask(nsm, {"ExtendPCR": {"index": 16, "data": data}}) == error("InvalidArgument")
    assert ask(nsm, {"ExtendPCR": {"index": 16}}) == error("InvalidArgument")
    assert describe(nsm, 16) == (ZERO, False)


@pytest.mark.parametrize("arguments", [None, [], "index", b"", 16])
@pytest.mark.parametrize("operation", ["Attestation", "DescribePCR", "ExtendPCR", "LockPCR", "LockPCRs"])
def test_arguments_that_are_not_a_map_are_invalid(nsm: SimulatedNsm, operation: str, arguments: object) -> None:
    assert ask(nsm, {operation: arguments}) == error("InvalidArgument")


@pytest.mark.parametrize("operation", ["DescribePCR", "ExtendPCR", "LockPCR", "LockPCRs"])
def test_missing_argument_is_invalid(nsm: SimulatedNsm, operation: str) -> None:
    assert ask(nsm, {operation: {}}) == error("InvalidArgument")


@pytest.mark.parametrize(
    "request_item",
    [
        "Attestation",
        "DescribePCR",
        "describensm",
        "Unknown",
        "",
        {"Unknown": {}},
        {"DescribeNSM": {}},
        {"GetRandom": None},
        {"Attestation": {}, "GetRandom": {}},
        {},
        {1: {}},
        {b"Attestation": {}},
        [],
        ["GetRandom"],
        None,
        b"GetRandom",
        5,
    ],
)
def test_request_the_module_does_not_know_is_an_invalid_operation(nsm: SimulatedNsm, request_item: object) -> None:
    assert ask(nsm, request_item) == error("InvalidOperation")


@pytest.mark.parametrize(
    "encoded", [b"", b"\xff", b"\xa1", cbor2.dumps("GetRandom")[:-1], cbor2.dumps("GetRandom") + b"\0", b"\xc1\x00"]
)
def test_request_that_is_not_cbor_is_an_invalid_operation(nsm: SimulatedNsm, encoded: bytes) -> None:
    assert cbor2.loads(nsm.answer(encoded)) == error("InvalidOperation")


def test_request_over_the_limit_is_too_large(nsm: SimulatedNsm) -> None:
    overhead = len(cbor2.dumps({"ExtendPCR": {"index": 16, "data": bytes(4_000)}})) - 4_000
    request = cbor2.dumps({"ExtendPCR": {"index": 16, "data": bytes(MAX_REQUEST_BYTES - overhead + 1)}})
    assert len(request) == MAX_REQUEST_BYTES + 1
    assert cbor2.loads(nsm.answer(request)) == error("InputTooLarge")
    assert describe(nsm, 16) == (ZERO, False)


def test_answer_over_the_limit_becomes_buffer_too_small() -> None:
    nsm = SimulatedNsm(AUTHORITY, module_id="i-" + "0" * MAX_RESPONSE_BYTES)
    answer = nsm.answer(cbor2.dumps("DescribeNSM"))
    assert cbor2.loads(answer) == error("BufferTooSmall")


def test_two_enclaves_under_one_authority_differ_in_their_documents() -> None:
    documents = [
        attest(SimulatedNsm(AUTHORITY, module_id=f"i-0-enc{n}", pcrs={0: bytes([n]) * 48}, clock=lambda: NOW))
        for n in (1, 2)
    ]
    assert documents[0].pcrs[0] != documents[1].pcrs[0]
    assert documents[0].certificate_der != documents[1].certificate_der


NAMES = st.sampled_from(
    [
        "DescribeNSM",
        "GetRandom",
        "Attestation",
        "DescribePCR",
        "ExtendPCR",
        "LockPCR",
        "LockPCRs",
        "index",
        "data",
        "range",
    ]
)
ITEMS: st.SearchStrategy[object] = st.recursive(
    NAMES | st.none() | st.booleans() | st.integers(-3, 40) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


def _answers(requests: Iterable[bytes]) -> None:
    nsm = SimulatedNsm(AUTHORITY, module_id=MODULE_ID, clock=lambda: NOW)
    for request in requests:
        answer = nsm.answer(request)
        assert 1 <= len(answer) <= MAX_RESPONSE_BYTES
        assert isinstance(cbor2.loads(answer), str | dict)


@settings(deadline=None)
@given(st.lists(ITEMS, min_size=1, max_size=5))
def test_any_item_gets_an_answer(items: list[object]) -> None:
    _answers(cbor2.dumps(item) for item in items)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_any_bytes_get_an_answer(requests: list[bytes]) -> None:
    _answers(requests)
