"""What is logged about a connection, as text and as fields."""

from __future__ import annotations

from vsock_proxy.relay.outcomes import ConnectionReport, Ending, EndReason, Refusal, RefusalReport


def test_connection_is_reported_with_its_bytes_its_duration_and_its_end() -> None:
    report = ConnectionReport("cid 16 port 5", "a -> b", 12, 34, 1.23456789, Ending(EndReason.IDLE, "too long"))
    assert str(report) == (
        "connection from cid 16 port 5: a -> b: 12 bytes to upstream, 34 bytes to client, 1.235 s, idle: too long"
    )
    assert report.fields() == {
        "event": "connection",
        "peer": "cid 16 port 5",
        "route": "a -> b",
        "to_upstream_bytes": 12,
        "to_client_bytes": 34,
        "duration_s": 1.234568,
        "reason": "idle",
        "detail": "too long",
        "destination": "",
    }


def test_report_names_a_destination_that_its_route_does_not_have() -> None:
    ending = Ending(EndReason.CLOSED)
    asked = ConnectionReport("p", "a -> CONNECT", 0, 0, 0.0, ending, "b.com:443")
    assert str(asked).startswith("connection from p: a -> CONNECT b.com:443: 0 bytes")
    assert asked.fields()["destination"] == "b.com:443"
    assert str(ConnectionReport("p", "a -> b:1", 0, 0, 0.0, ending, "b:1")).startswith("connection from p: a -> b:1: 0")


def test_ending_without_a_detail_is_its_reason() -> None:
    assert str(Ending(EndReason.CLOSED)) == "closed"


def test_refusal_is_reported_with_its_reason() -> None:
    report = RefusalReport("cid 16 port 5", "a -> b", Refusal.DNS, "no address")
    assert str(report) == "refused cid 16 port 5: a -> b: no address"
    assert report.fields() == {
        "event": "refused",
        "peer": "cid 16 port 5",
        "route": "a -> b",
        "reason": "dns",
        "detail": "no address",
    }
