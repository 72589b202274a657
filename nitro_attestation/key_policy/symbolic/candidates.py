"""Values worth trying for a condition key, derived from the values that conditions compare it with (pure).

For numbers, dates and addresses, only the boundaries in the conditions and the values next to them matter.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from nitro_attestation.key_policy.conditions.operators import Family, read_date, read_network, read_number

HEX_DIGITS = "0123456789abcdef"
DIGEST_DIGITS = 96
"""Hexadecimal digits of a SHA-384 digest."""
_UNNAMED_DIGESTS = ("7e" * (DIGEST_DIGITS // 2), "e7" * (DIGEST_DIGITS // 2))
_STEP = Decimal("0.5")
_EARLIEST, _LATEST = Decimal(0), Decimal(253402300799)  # 1970 and 9999
_ADDRESSES = ("198.51.100.77", "2001:db8:ffff::77")
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)


def candidate_values(compared: Iterable[tuple[Family, tuple[str, ...]]]) -> Iterator[str]:
    """Yield values of a key, each once.

    Args:
        compared: for each condition, the type of the values that it compares, and the policy's values.
    """
    values: dict[Family, list[str]] = {}
    for family, texts in compared:
        values.setdefault(family, []).extend(texts)
    seen: set[str] = set()
    for family, collected in values.items():
        for value in _candidates(family, collected):
            if value not in seen:
                seen.add(value)
                yield value


def candidate_digests(compared: Iterable[tuple[Family, tuple[str, ...]]]) -> Iterator[str]:
    """Yield digests worth trying before a search: some that no policy names, and some that match single patterns.

    Args:
        compared: for each condition, the type of the values that it compares, and the policy's values.
    """
    yield from _UNNAMED_DIGESTS
    for _, texts in compared:
        for text in texts:
            pattern = text.lower().replace("?", "e")
            first, star, rest = pattern.partition("*")
            rest = rest.replace("*", "")
            yield first + "e" * (DIGEST_DIGITS - len(first) - len(rest)) + rest if star else pattern


def _candidates(family: Family, texts: list[str]) -> Iterator[str]:
    match family:
        case Family.BOOLEAN:
            yield from ("true", "false")
        case Family.NUMERIC:
            yield from (f"{number:f}" for number in _around(map(read_number, texts)))
        case Family.DATE:
            times = [time for time in _around(map(read_date, texts)) if _EARLIEST <= time <= _LATEST]
            yield from map(_date_text, times)
            yield from (f"{time:f}" for time in times)
        case Family.IP_ADDRESS:
            yield from _addresses(texts)
        case Family.BINARY:
            yield from (*texts, "eHl6")
        case Family.STRING | Family.ARN:
            yield from texts
            yield from (text.lower() for text in texts)
            yield from (text.upper() for text in texts)


def _around(limits: Iterable[Decimal | None]) -> Iterator[Decimal]:
    for limit in limits:
        if limit is not None:
            yield from (limit, limit - _STEP, limit + _STEP, limit - 1, limit + 1)


def _date_text(seconds: Decimal) -> str:
    moment = _EPOCH_START + timedelta(microseconds=int(seconds * 1_000_000))
    return moment.isoformat().replace("+00:00", "Z")


def _addresses(texts: list[str]) -> Iterator[str]:
    for network in map(read_network, texts):
        if network is None:
            continue
        first, last = int(network.network_address), int(network.broadcast_address)
        kind = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
        highest = (1 << network.max_prefixlen) - 1
        for number in (first, last, first - 1, last + 1):
            if 0 <= number <= highest:
                yield str(kind(number))
    yield from _ADDRESSES
