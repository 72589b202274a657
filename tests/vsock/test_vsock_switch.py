"""How the switch between guests handles packets. tests/images shows that two guests can communicate through it."""

from __future__ import annotations

import pytest

from tests.support.vsock.vsock_switch import HEADER, OPERATION_RESET, Packet, parse_packet

DATA = bytes(range(256)) * 16


@pytest.fixture
def packet() -> Packet:
    return Packet(3, 16, 1_024, 3_000, len(DATA), 1, 5, 0, 262_144, 7, DATA)


def test_a_packet_is_read_as_it_was_written(packet: Packet) -> None:
    assert parse_packet(packet.encode() + b"what else lies in the buffer") == packet


@pytest.mark.parametrize("capacity_bytes", [HEADER.size + 1, 3_732, HEADER.size + len(DATA) - 1])
def test_data_that_does_not_fit_into_a_buffer_goes_into_the_next_ones(packet: Packet, capacity_bytes: int) -> None:
    parts: list[Packet] = []
    rest: Packet | None = packet
    while rest is not None:
        part, rest = rest.split(capacity_bytes)
        assert len(part.encode()) <= capacity_bytes
        parts.append(parse_packet(part.encode()))
    assert b"".join(part.data for part in parts) == DATA
    assert {part[:4] for part in parts} == {packet[:4]}
    assert sum(part.size_bytes for part in parts) == packet.size_bytes


def test_packet_that_fits_is_not_split(packet: Packet) -> None:
    assert packet.split(HEADER.size + len(DATA)) == (packet, None)


def test_a_packet_to_an_unknown_cid_is_answered_by_a_reset(packet: Packet) -> None:
    answer = packet.refusal()
    assert (answer.source_cid, answer.source_port, answer.target_cid, answer.target_port) == (16, 3_000, 3, 1_024)
    assert answer.operation == OPERATION_RESET
