"""Which addresses a destination may be reached at: by the rules, and by what names resolve to now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import pytest

from vsock_proxy.config.allowlist import Allowlist
from vsock_proxy.config.config_file import parse_config
from vsock_proxy.config.destination import IpAddress, parse_destination
from vsock_proxy.dial.permission import Permissions
from vsock_proxy.dial.resolver import Resolver
from vsock_proxy.errors import NotAllowedError, ResolveError
from vsock_proxy.settings import AddressFamily

INSIDE = ip_address("10.1.2.3")
OUTSIDE = ip_address("192.0.2.1")


class Names:
    """A name server; records what it was asked."""

    def __init__(self, **addresses: IpAddress) -> None:
        self.addresses = {name.replace("_", "."): address for name, address in addresses.items()}
        self.asked: list[str] = []

    async def look_up(self, name: str, _family: AddressFamily) -> tuple[IpAddress, ...]:
        self.asked.append(name)
        if name == "slow.com":
            await asyncio.Event().wait()
        if name not in self.addresses:
            raise ResolveError(f"DNS lookup failed: {name}")
        return (self.addresses[name],)


def rules(*entries: str, is_strict: bool = False) -> Allowlist:
    text = "allowlist:" + "".join(f"\n- {{address: {entry}, port: 443}}" for entry in entries)
    return parse_config(text, source="f", is_strict=is_strict).allowlist


def check(names: Names, allowlist: Allowlist, steps: Callable[[Permissions], Awaitable[None]]) -> None:
    async def run() -> None:
        resolver = Resolver(lookup=names.look_up)
        permissions = Permissions(resolver, file="/etc/f.yaml")
        permissions.allowlist = allowlist
        await steps(permissions)
        await resolver.close()

    asyncio.run(asyncio.wait_for(run(), 20))


def test_addresses_of_a_listed_name_are_known_at_once_after_the_first_use() -> None:
    async def steps(permissions: Permissions) -> None:
        destination = parse_destination("a.com", 443)
        assert permissions.permitted_now(destination) == ()
        assert await permissions.permitted(destination, timeout_s=10) == (OUTSIDE,)
        assert permissions.permitted_now(destination) == (OUTSIDE,)
        permissions.allowlist = rules("b.com")
        assert permissions.permitted_now(destination) == ()

    check(Names(a_com=OUTSIDE), rules("a.com"), steps)


@pytest.mark.parametrize("host", ["b.com", "10.1.2.3"])
def test_address_of_a_listed_name_is_permitted_as_in_aws_proxy(host: str) -> None:
    names = Names(a_com=INSIDE, b_com=INSIDE, c_com=OUTSIDE)

    async def steps(permissions: Permissions) -> None:
        for _ in range(2):
            assert await permissions.permitted(parse_destination(host, 443), timeout_s=10) == (INSIDE,)
        with pytest.raises(NotAllowedError):
            await permissions.permitted(parse_destination("192.0.2.9", 443), timeout_s=10)
        with pytest.raises(NotAllowedError):
            await permissions.permitted(parse_destination(host, 80), timeout_s=10)

    check(names, rules("a.com", "c.com", "gone.com"), steps)
    assert sorted(set(names.asked) - {host}) == ["a.com", "c.com", "gone.com"]


@pytest.mark.parametrize("host", ["b.com", "10.1.2.3"])
@pytest.mark.parametrize(("is_strict", "uses_names"), [(True, True), (False, False)])
def test_nothing_is_looked_up_for_a_host_that_cannot_be_permitted(host: str, is_strict: bool, uses_names: bool) -> None:
    names = Names(a_com=INSIDE, b_com=INSIDE)

    async def steps(permissions: Permissions) -> None:
        with pytest.raises(NotAllowedError, match=rf"The given address and port are not allowed: {host}:443") as caught:
            await permissions.permitted(parse_destination(host, 443), timeout_s=10, uses_names=uses_names)
        assert caught.value.hint == f"add {{address: {host}, port: 443}} to allowlist in /etc/f.yaml"

    check(names, rules("a.com", is_strict=is_strict), steps)
    assert names.asked == []


def test_name_gets_only_its_addresses_in_a_listed_network() -> None:
    async def steps(permissions: Permissions) -> None:
        assert await permissions.permitted(parse_destination("in.com", 443), timeout_s=10) == (INSIDE,)
        with pytest.raises(NotAllowedError):
            await permissions.permitted(parse_destination("out.com", 443), timeout_s=10)

    check(Names(in_com=INSIDE, out_com=OUTSIDE), rules("10.0.0.0/8"), steps)


def test_name_that_does_not_resolve_in_time_is_told_from_one_that_does_not_exist() -> None:
    async def steps(permissions: Permissions) -> None:
        for host, timed_out in (("slow.com", True), ("gone.com", False)):
            with pytest.raises(ResolveError) as caught:
                await permissions.permitted(parse_destination(host, 443), timeout_s=0.05 if timed_out else 10)
            assert caught.value.timed_out is timed_out

    check(Names(), rules("slow.com", "gone.com"), steps)


def test_routes_are_verified_only_where_that_needs_names() -> None:
    names = Names(a_com=INSIDE)

    async def steps(permissions: Permissions) -> None:
        direct = [parse_destination("a.com", 443), parse_destination("192.0.2.1", 443)]
        await permissions.verify(direct, timeout_s=10)
        assert names.asked == []
        await permissions.verify([parse_destination("10.1.2.3", 443)], timeout_s=10)
        with pytest.raises(NotAllowedError, match="Error at checking the allowlist: The given address and port are"):
            await permissions.verify([parse_destination("10.9.9.9", 443)], timeout_s=10)

    check(names, rules("a.com", "192.0.2.0/24"), steps)
