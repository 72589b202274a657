"""Destinations, and what an allowlist permits."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from vsock_proxy.config.allowlist import Allowlist, Entry, parse_pattern
from vsock_proxy.config.destination import parse_destination
from vsock_proxy.errors import ConfigError

INSIDE = ip_address("10.1.2.3")
OUTSIDE = ip_address("192.0.2.1")
INSIDE_V6 = ip_address("fd00::1")


def allowlist(*patterns: str, ports: tuple[int, ...] = (443,)) -> Allowlist:
    return Allowlist(tuple(Entry(parse_pattern(pattern), frozenset(ports)) for pattern in patterns))


@pytest.mark.parametrize(
    ("pattern", "host", "permitted"),
    [
        ("kms.us-east-1.amazonaws.com", "kms.us-east-1.amazonaws.com", True),
        ("kms.us-east-1.amazonaws.com", "KMS.us-east-1.amazonaws.com.", True),
        ("kms.us-east-1.amazonaws.com", "xkms.us-east-1.amazonaws.com", False),
        ("kms.us-east-1.amazonaws.com", "kms.us-east-1.amazonaws.com.evil.example", False),
        ("*.amazonaws.com", "kms.amazonaws.com", True),
        ("*.amazonaws.com", "kms.us-east-1.amazonaws.com", False),
        ("*.amazonaws.com", "amazonaws.com", False),
        ("*.amazonaws.com", "kms.amazonaws.com.evil.example", False),
        ("bücher.example", "xn--bcher-kva.example", True),
    ],
)
def test_name_is_permitted_only_if_an_entry_matches(pattern: str, host: str, permitted: bool) -> None:
    destination = parse_destination(host, 443)
    rules = allowlist(pattern)
    assert rules.permitted(destination, [OUTSIDE, INSIDE]) == ((OUTSIDE, INSIDE) if permitted else ())
    assert rules.permits_name(destination) is rules.permits_without_names(destination) is permitted


@pytest.mark.parametrize(
    ("pattern", "host", "permitted"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("fd00::/8", "fd00::1", True),
        ("::1", "0:0:0:0:0:0:0:1", True),
        ("fd00::/8", "10.1.2.3", False),
        ("0.0.0.0/0", "fd00::1", False),
        ("*.2.3", "10.1.2.3", None),
    ],
)
def test_literal_address_is_permitted_only_if_a_network_contains_it(
    pattern: str, host: str, permitted: bool | None
) -> None:
    if permitted is None:
        with pytest.raises(ConfigError):
            parse_pattern(pattern)
        return
    destination = parse_destination(host, 443)
    assert destination.address is not None
    assert bool(allowlist(pattern).permitted(destination, [destination.address])) is permitted
    assert allowlist(pattern).could_permit(destination) is permitted


def test_name_gets_only_those_of_its_addresses_that_a_network_contains() -> None:
    destination = parse_destination("db.internal", 443)
    assert allowlist("10.0.0.0/8", "fd00::/8").permitted(destination, [OUTSIDE, INSIDE, INSIDE_V6]) == (
        INSIDE,
        INSIDE_V6,
    )
    assert allowlist("10.0.0.0/8").permitted(destination, [OUTSIDE]) == ()


def test_port_that_is_not_in_the_entry_is_forbidden() -> None:
    rules = allowlist("example.com", "10.0.0.0/8", ports=(443, 8443))
    assert rules.permitted(parse_destination("example.com", 8443), [INSIDE]) == (INSIDE,)
    assert rules.permitted(parse_destination("example.com", 80), [INSIDE]) == ()
    assert not rules.could_permit(parse_destination("10.0.0.1", 80))


@pytest.mark.parametrize("host", ["10.1.2.3", "other.example"])
def test_name_permits_its_addresses_for_other_destinations_as_in_aws_proxy(host: str) -> None:
    destination = parse_destination(host, 443)
    rules = allowlist("a.com", "*.b.com", "a.com", "c.com")
    assert not rules.permits_without_names(destination)
    assert rules.could_permit(destination)
    assert rules.names_to_resolve(destination) == ("a.com", "c.com")
    assert rules.permitted(destination, [OUTSIDE, INSIDE], of_names={INSIDE}) == (INSIDE,)
    assert rules.names_to_resolve(parse_destination(host, 80)) == ()


def test_name_in_the_list_needs_no_other_name() -> None:
    assert allowlist("a.com", "c.com").names_to_resolve(parse_destination("a.com", 443)) == ()


@pytest.mark.parametrize(
    ("host", "permitted"),
    [("a.com", True), ("10.1.2.3", True), ("c.com", False), ("192.0.2.1", False)],
)
def test_strict_entry_permits_only_what_it_says(host: str, permitted: bool) -> None:
    entries = allowlist("a.com", "10.0.0.0/8").entries
    destination = parse_destination(host, 443)
    rules = Allowlist(entries, is_strict=True)
    assert rules.could_permit(destination) is permitted
    assert bool(rules.permitted(destination, [INSIDE] if host != "192.0.2.1" else [OUTSIDE])) is permitted
    assert rules.names_to_resolve(destination) == ()


def test_empty_allowlist_permits_nothing() -> None:
    assert Allowlist(()).permitted(parse_destination("example.com", 443), [INSIDE]) == ()


@pytest.mark.parametrize(
    "text", ["10.0.0.1/8", "10.0.0.0/33", "", "*", "*.", "*.*.com", "a.*.com", "**.com", "a b", "x/8"]
)
def test_pattern_of_unknown_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_pattern(text)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "a..b",
        "-a.com",
        "a-.com",
        "a" * 64 + ".com",
        "127.1",
        "0x7f000001",
        "2130706433",
        "a.b.0x1",
        "a\n",
        "é" * 64,
    ],
)
def test_host_that_is_neither_name_nor_address_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="Could not parse domain name"):
        parse_destination(host, 443)


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_port_out_of_range_is_refused(port: int) -> None:
    with pytest.raises(ConfigError, match="Remote port is not valid"):
        parse_destination("example.com", port)


def test_entry_is_printed_as_it_was_written() -> None:
    entries = [Entry(parse_pattern(text), frozenset({443, 80})) for text in ("a.com", "*.a.com", "10.0.0.0/8", "::1")]
    assert [str(entry) for entry in entries] == [
        "a.com port 80, 443", "*.a.com port 80, 443", "10.0.0.0/8 port 80, 443", "::1 port 80, 443",
    ]  # fmt: skip
