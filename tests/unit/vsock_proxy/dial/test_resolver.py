"""Names kept fresh in the background, by a lookup that each test scripts."""

from __future__ import annotations

import asyncio
import re
import threading
from ipaddress import ip_address

import pytest

from vsock_proxy.config.destination import IpAddress
from vsock_proxy.dial.resolver import Resolver, look_up
from vsock_proxy.errors import ResolveError
from vsock_proxy.settings import AddressFamily

FIRST = (ip_address("192.0.2.1"),)
SECOND = (ip_address("192.0.2.2"), ip_address("2001:db8::2"))


class Script:
    """A lookup that returns the scripted answers, one per call, and then waits forever."""

    def __init__(self, *answers: tuple[IpAddress, ...] | None) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, AddressFamily]] = []
        self.exhausted = asyncio.Event()

    async def __call__(self, name: str, family: AddressFamily) -> tuple[IpAddress, ...]:
        self.asked.append((name, family))
        if not self._answers:
            self.exhausted.set()
            await asyncio.Event().wait()
        answer = self._answers.pop(0)
        if answer is None:
            raise ResolveError(f"DNS lookup failed: {name}")
        return answer


def resolver(script: Script, **options: float) -> Resolver:
    return Resolver(lookup=script, **({"refresh_s": 0.001, "retry_first_s": 0.001} | options))  # type: ignore[arg-type]


def test_connection_waits_only_for_the_first_lookup() -> None:
    async def check() -> None:
        script = Script(FIRST)
        names = resolver(script)
        names.watch({"a.com"})
        assert await names.addresses("a.com") == FIRST
        await script.exhausted.wait()
        assert await asyncio.wait_for(names.addresses("a.com"), 0.1) == FIRST
        await names.close()

    asyncio.run(check())


def test_newer_addresses_replace_older_ones() -> None:
    async def check() -> None:
        script = Script(FIRST, SECOND)
        names = resolver(script)
        names.watch({"a.com"})
        await script.exhausted.wait()
        assert await names.addresses("a.com") == SECOND
        await names.close()

    asyncio.run(check())


def test_failures_leave_the_last_good_addresses(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        script = Script(FIRST, *[None] * 9)
        names = resolver(script)
        names.watch({"a.com"})
        await script.exhausted.wait()
        assert await names.addresses("a.com") == FIRST
        assert names.failures == 9
        await names.close()

    asyncio.run(check())
    assert re.findall(r"failure (\d+), still using", caplog.text) == ["1", "2", "4", "8"]


def test_failure_without_earlier_addresses_is_passed_on_until_it_resolves() -> None:
    async def check() -> None:
        script = Script(None, FIRST)
        names = resolver(script)
        names.watch({"a.com"})
        with pytest.raises(ResolveError, match=r"a\.com"):
            await names.addresses("a.com")
        await script.exhausted.wait()
        assert await names.addresses("a.com") == FIRST
        await names.close()

    asyncio.run(check())


def test_suspected_addresses_are_looked_up_early() -> None:
    async def check() -> None:
        script = Script(FIRST, SECOND)
        names = resolver(script, refresh_s=3_600)
        names.watch({"a.com"})
        assert await names.addresses("a.com") == FIRST
        while await names.addresses("a.com") == FIRST:
            names.suspect("a.com")
            names.suspect("never.watched")
            await asyncio.sleep(0)
        assert len(script.asked) == 2
        await names.close()

    asyncio.run(asyncio.wait_for(check(), 10))


def test_watching_other_names_drops_old_ones_and_keeps_the_rest() -> None:
    async def check() -> None:
        script = Script(FIRST, SECOND)
        names = resolver(script, refresh_s=3_600)
        names.watch({"a.com", "b.com"})
        kept = await names.addresses("b.com")
        names.watch({"b.com", "c.com"})
        await script.exhausted.wait()
        assert await names.addresses("b.com") == kept
        assert sorted(name for name, _ in script.asked) == ["a.com", "b.com", "c.com"]
        await names.close()

    asyncio.run(check())


def test_system_resolver_gives_addresses_of_the_family_asked_for() -> None:
    assert asyncio.run(look_up("localhost", AddressFamily.IPV4)) == (ip_address("127.0.0.1"),)


def test_system_resolver_refuses_a_name_that_cannot_exist() -> None:
    with pytest.raises(ResolveError, match=r"DNS lookup failed: nowhere\.invalid"):
        asyncio.run(look_up("nowhere.invalid", AddressFamily.ANY))


def test_cancelled_lookup_does_not_delay_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        release.wait(10)
        return []

    monkeypatch.setattr("socket.getaddrinfo", hang)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(look_up("a.com", AddressFamily.ANY), 0.01)

    asyncio.run(give_up())
    assert not release.is_set()
    release.set()
