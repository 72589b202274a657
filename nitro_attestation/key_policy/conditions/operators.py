"""Operators of IAM conditions: what each compares, and how it reads values (pure).

Source: IAM user guide, "IAM JSON policy elements: Condition operators" and "Multivalued context keys".
"""

from __future__ import annotations

import base64
import binascii
import enum
import functools
import ipaddress
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

IF_EXISTS = "IfExists"
NULL = "Null"
FOR_ANY = "ForAnyValue"
FOR_ALL = "ForAllValues"
ARN_PARTS = 6

LITERAL_STAR = "\ue000"
LITERAL_QUESTION_MARK = "\ue001"
"""Placeholders for a ``*`` and a ``?`` that match only themselves, such as those from policy variables."""

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", re.ASCII)
_DATE = re.compile(
    r"(?P<year>[0-9]{4})(-(?P<month>[0-9]{2})(-(?P<day>[0-9]{2})"
    r"(T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(:(?P<second>[0-9]{2})(\.(?P<fraction>[0-9]{1,9}))?)?"
    r"(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})?)?)?)?",
    re.ASCII,
)
_EPOCH = re.compile(r"[0-9]{5,17}(\.[0-9]{1,9})?", re.ASCII)


class Family(enum.Enum):
    """The type of the values that an operator compares."""

    STRING = "a string"
    ARN = "an ARN of six parts"
    NUMERIC = "a number"
    DATE = "a date such as 2026-01-31T00:00:00Z, or seconds since 1970"
    BOOLEAN = "true or false"
    BINARY = "base64"
    IP_ADDRESS = "an IP address or a range such as 203.0.113.0/24"


@dataclass(frozen=True)
class Comparison:
    """How an operator without its prefix and suffix compares.

    Attributes:
        name: as in policies.
        family: the type of the values that it compares.
        matches: takes a value of the policy and one of the request.
        is_negated: whether it holds if no value of the policy matches.
    """

    name: str
    family: Family
    matches: Callable[[str, str], bool]
    is_negated: bool = False


@dataclass(frozen=True)
class Operator:
    """A parsed condition operator.

    Attributes:
        comparison: how it compares, or None for Null.
        quantifier: FOR_ANY, FOR_ALL, or None.
        if_exists: whether it holds if the key is absent from the request.
    """

    comparison: Comparison | None
    quantifier: str | None = None
    if_exists: bool = False


@functools.lru_cache(maxsize=4096)
def _pattern(text: str, flags: int) -> re.Pattern[str]:
    first, *rest = (re.escape(piece).replace(r"\?", ".") for piece in text.split("*"))
    # the first match of each piece is always sufficient, so atomic groups prevent catastrophic backtracking
    middle = "".join(f"(?>.*?{piece})" for piece in rest[:-1])
    regex = first + middle + (f".*{rest[-1]}" if rest else "")
    regex = regex.replace(LITERAL_STAR, r"\*").replace(LITERAL_QUESTION_MARK, r"\?")
    return re.compile(regex, re.DOTALL | flags)


def wildcard_match(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Return whether ``text`` matches ``pattern``, in which * matches any characters and ? matches one."""
    return _pattern(pattern, re.IGNORECASE if ignore_case else re.NOFLAG).fullmatch(text) is not None


def read_number(text: str) -> Decimal | None:
    """Return the number in a text, or None."""
    try:
        return Decimal(text) if _NUMBER.fullmatch(text) else None
    except InvalidOperation:
        return None


def read_date(text: str) -> Decimal | None:
    """Return the time in a text, in seconds since 1970, or None. A date without a time zone is in UTC."""
    if _EPOCH.fullmatch(text):
        return Decimal(text)
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    names = ("year", "month", "day", "hour", "minute", "second")
    year, month, day, hour, minute, second = (
        int(match[name] or (1 if name in ("month", "day") else 0)) for name in names
    )
    try:
        seconds = Decimal(int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()))
    except (ValueError, OverflowError):
        return None
    return seconds + Decimal("0." + (match["fraction"] or "0")) - _zone_seconds(match["zone"] or "Z")


def read_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return the range of IP addresses in a text, or None. A single address is a range of one."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def read_binary(text: str) -> bytes | None:
    """Return the bytes in a base64 text, or None."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def is_readable(family: Family, value: str) -> bool:
    """Return whether operators of the family can compare a value of a policy."""
    if family is Family.STRING:
        return True
    if family is Family.ARN:
        return value.startswith("arn:") and len(value.split(":", ARN_PARTS - 1)) == ARN_PARTS
    if family is Family.BOOLEAN:
        return value.lower() in ("true", "false")
    return _READERS[family](value) is not None


_READERS: dict[Family, Callable[[str], object | None]] = {
    Family.NUMERIC: read_number,
    Family.DATE: read_date,
    Family.BINARY: read_binary,
    Family.IP_ADDRESS: read_network,
}


@functools.lru_cache(maxsize=512)
def parse_operator(text: str) -> Operator | None:
    """Parse a condition operator such as ``ForAnyValue:StringLikeIfExists``; return None if IAM has none like it."""
    if text == NULL:
        return Operator(None)
    quantifier, _, name = text.rpartition(":")
    comparison = COMPARISONS.get(name.removesuffix(IF_EXISTS))
    if comparison is None or quantifier not in ("", FOR_ANY, FOR_ALL):
        return None
    return Operator(comparison, quantifier or None, name.endswith(IF_EXISTS))


def _zone_seconds(zone: str) -> int:
    if zone == "Z":
        return 0
    digits = zone[1:].replace(":", "")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return -seconds if zone[0] == "-" else seconds


def _arn_matches(wanted: str, actual: str) -> bool:
    wanted_parts, actual_parts = wanted.split(":", ARN_PARTS - 1), actual.split(":", ARN_PARTS - 1)
    return len(wanted_parts) == len(actual_parts) == ARN_PARTS and all(map(wildcard_match, wanted_parts, actual_parts))


def _ip_matches(wanted: str, actual: str) -> bool:
    network, address = read_network(wanted), read_network(actual)
    if network is None or address is None or network.version != address.version:
        return False
    wanted_addresses, addresses = (
        range(int(each.network_address), int(each.broadcast_address) + 1) for each in (network, address)
    )
    return addresses[0] in wanted_addresses and addresses[-1] in wanted_addresses


def _binary_matches(wanted: str, actual: str) -> bool:
    value = read_binary(wanted)
    return value is not None and value == read_binary(actual)


def _ordered(read: Callable[[str], Decimal | None], compare: Callable[[Any, Any], bool]) -> Callable[[str, str], bool]:
    def matches(wanted: str, actual: str) -> bool:
        limit, value = read(wanted), read(actual)
        return limit is not None and value is not None and compare(value, limit)

    return matches


def _plain(text: str) -> str:
    return text.replace(LITERAL_STAR, "*").replace(LITERAL_QUESTION_MARK, "?")


def _comparisons() -> Iterator[Comparison]:
    positive: list[tuple[str, Family, Callable[[str, str], bool]]] = [
        ("StringEquals", Family.STRING, lambda wanted, actual: _plain(wanted) == actual),
        ("StringEqualsIgnoreCase", Family.STRING, lambda wanted, actual: _plain(wanted).lower() == actual.lower()),
        ("StringLike", Family.STRING, wildcard_match),
        ("ArnEquals", Family.ARN, _arn_matches),
        ("ArnLike", Family.ARN, _arn_matches),
        ("IpAddress", Family.IP_ADDRESS, _ip_matches),
        ("NumericEquals", Family.NUMERIC, _ordered(read_number, operator.eq)),
        ("DateEquals", Family.DATE, _ordered(read_date, operator.eq)),
    ]
    for name, family, matches in positive:
        yield Comparison(name, family, matches)
        negated = "NotIpAddress" if family is Family.IP_ADDRESS else re.sub("(Equals|Like)", r"Not\1", name, count=1)
        yield Comparison(negated, family, matches, is_negated=True)
    yield Comparison("Bool", Family.BOOLEAN, lambda wanted, actual: wanted.lower() == actual.lower())
    yield Comparison("BinaryEquals", Family.BINARY, _binary_matches)
    for suffix, compare in _ORDERS.items():
        yield Comparison(f"Numeric{suffix}", Family.NUMERIC, _ordered(read_number, compare))
        yield Comparison(f"Date{suffix}", Family.DATE, _ordered(read_date, compare))


_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "LessThan": operator.lt,
    "LessThanEquals": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanEquals": operator.ge,
}
COMPARISONS = {comparison.name: comparison for comparison in _comparisons()}
"""All of IAM's operators except Null, without ``ForAnyValue:``, ``ForAllValues:`` and ``IfExists``."""
