"""PCRs of a simulated enclave: their values at boot, how they are extended and locked, and what is measured."""

from __future__ import annotations

import cbor2
import pytest

from nitro_simulator.nsm.service import MAX_REQUEST_BYTES, SimulatedNsm
from tests.support.attestation.simulated_nsm import (
    AUTHORITY,
    MODULE_ID,
    NOW,
    PCRS,
    ZERO,
    ask,
    attest,
    describe,
    error,
    extended,
)


def test_document_contains_only_the_locked_pcrs(nsm: SimulatedNsm) -> None:
    ask(nsm, {"ExtendPCR": {"index": 16, "data": b"a"}})
    ask(nsm, {"ExtendPCR": {"index": 20, "data": b"b"}})
    ask(nsm, {"LockPCR": {"index": 20}})
    document = attest(nsm)
    assert sorted(document.pcrs) == [*range(16), 20]
    assert document.pcrs[20] == extended(ZERO, b"b")
    assert {index: document.pcrs[index] for index in PCRS} == PCRS


def test_pcrs_at_boot_are_those_of_a_real_enclave(nsm: SimulatedNsm) -> None:
    described = {index: describe(nsm, index) for index in range(32)}
    assert {index for index, (_, locked) in described.items() if locked} == set(range(16))
    parent = extended(ZERO, b"i-0123456789abcdef0")  # PCR4 measures the parent instance's id
    expected = PCRS | {4: parent}
    assert {index: value for index, (value, _) in described.items()} == {
        index: expected.get(index, ZERO) for index in range(32)
    }


def test_enclave_without_measurements_given_does_not_look_like_debug() -> None:
    nsm = SimulatedNsm(AUTHORITY, module_id=MODULE_ID, clock=lambda: NOW)
    values = [describe(nsm, index)[0] for index in (0, 1, 2)]
    assert ZERO not in values
    assert len(set(values)) == 3
    assert not attest(nsm).is_debug


def test_debug_enclave_has_zeros_for_its_image_alone() -> None:
    nsm = SimulatedNsm(AUTHORITY, module_id=MODULE_ID, pcrs=PCRS, debug=True, clock=lambda: NOW)
    document = attest(nsm)
    assert document.is_debug
    assert [document.pcrs[index] for index in (0, 1, 2)] == [ZERO] * 3
    assert (document.pcrs[3], document.pcrs[8]) == (PCRS[3], PCRS[8])
    assert document.pcrs[4] != ZERO


@pytest.mark.parametrize("index", [-1, 16, 31, 32])
def test_measurement_of_a_pcr_the_hypervisor_does_not_set_is_a_value_error(index: int) -> None:
    with pytest.raises(ValueError, match="pcrs: expected indexes from 0 to 15"):
        SimulatedNsm(AUTHORITY, module_id=MODULE_ID, pcrs={index: ZERO})


@pytest.mark.parametrize("size", [0, 32, 47, 49, 64])
def test_measurement_of_another_size_is_a_value_error(size: int) -> None:
    with pytest.raises(ValueError, match=r"pcrs\[0\]: expected 48 bytes \(SHA384\), got"):
        SimulatedNsm(AUTHORITY, module_id=MODULE_ID, pcrs={0: bytes(size)})


def test_extend_chains_sha384(nsm: SimulatedNsm) -> None:
    assert ask(nsm, {"ExtendPCR": {"index": 16, "data": b"one"}}) == {"ExtendPCR": {"data": extended(ZERO, b"one")}}
    assert ask(nsm, {"ExtendPCR": {"index": 16, "data": "two"}}) == {
        "ExtendPCR": {"data": extended(ZERO, b"one", b"two")}
    }
    assert describe(nsm, 16) == (extended(ZERO, b"one", b"two"), False)
    assert describe(nsm, 17) == (ZERO, False)


def test_extend_accepts_empty_data_and_as_much_as_fits_into_a_request(nsm: SimulatedNsm) -> None:
    assert ask(nsm, {"ExtendPCR": {"index": 31, "data": b""}})["ExtendPCR"]["data"] == extended(ZERO, b"")
    overhead = len(cbor2.dumps({"ExtendPCR": {"index": 30, "data": bytes(4_000)}})) - 4_000
    largest = bytes(MAX_REQUEST_BYTES - overhead)
    assert ask(nsm, {"ExtendPCR": {"index": 30, "data": largest}})["ExtendPCR"]["data"] == extended(ZERO, largest)


def test_lock_makes_a_pcr_read_only_permanently(nsm: SimulatedNsm) -> None:
    ask(nsm, {"ExtendPCR": {"index": 16, "data": b"one"}})
    assert ask(nsm, {"LockPCR": {"index": 16}}) == "LockPCR"
    assert ask(nsm, {"ExtendPCR": {"index": 16, "data": b"two"}}) == error("ReadOnlyIndex")
    assert ask(nsm, {"LockPCR": {"index": 16}}) == error("ReadOnlyIndex")
    assert describe(nsm, 16) == (extended(ZERO, b"one"), True)
    assert ask(nsm, "DescribeNSM")["DescribeNSM"]["locked_pcrs"] == list(range(17))


@pytest.mark.parametrize("index", range(16))
def test_pcr_of_the_hypervisor_can_neither_be_extended_nor_locked(nsm: SimulatedNsm, index: int) -> None:
    before = describe(nsm, index)
    assert ask(nsm, {"ExtendPCR": {"index": index, "data": b"x"}}) == error("ReadOnlyIndex")
    assert ask(nsm, {"LockPCR": {"index": index}}) == error("ReadOnlyIndex")
    assert describe(nsm, index) == before


@pytest.mark.parametrize(("count", "locked"), [(0, 16), (16, 16), (17, 17), (32, 32)])
def test_lock_pcrs_locks_all_below_its_range(nsm: SimulatedNsm, count: int, locked: int) -> None:
    assert ask(nsm, {"LockPCRs": {"range": count}}) == "LockPCRs"
    assert [index for index in range(32) if describe(nsm, index)[1]] == list(range(locked))


def test_lock_pcrs_accepts_pcrs_that_are_already_locked(nsm: SimulatedNsm) -> None:
    ask(nsm, {"LockPCRs": {"range": 32}})
    assert ask(nsm, {"LockPCRs": {"range": 32}}) == "LockPCRs"


@pytest.mark.parametrize("index", [32, 255, 256, 0xFFFF])
@pytest.mark.parametrize("operation", ["DescribePCR", "ExtendPCR", "LockPCR"])
def test_index_out_of_bounds_is_an_invalid_index(nsm: SimulatedNsm, operation: str, index: int) -> None:
    assert ask(nsm, {operation: {"index": index, "data": b""}}) == error("InvalidIndex")


def test_range_over_the_number_of_pcrs_is_an_invalid_index_and_locks_nothing(nsm: SimulatedNsm) -> None:
    assert ask(nsm, {"LockPCRs": {"range": 33}}) == error("InvalidIndex")
    assert not describe(nsm, 16)[1]
