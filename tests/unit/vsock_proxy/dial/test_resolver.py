"""Names kept fresh in the background, by a lookup that each test scripts."""

from __future__ import annotations

import asyncio
import re
from ipaddress import ip_address

import pytest

from vsock_proxy.config.destination import IpAddress
from vsock_proxy.dial.resolver import MAX_LOOKUPS, MAX_VISITED_NAMES, Resolver
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


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), RuntimeError("x"), OSError(24, "x")])
def test_watcher_survives_every_error(error: Exception) -> None:
    async def check() -> None:
        script = Script(FIRST, SECOND)
        failing = [error, error]

        async def lookup(name: str, family: AddressFamily) -> tuple[IpAddress, ...]:
            if script.asked and failing:
                raise failing.pop()
            return await script(name, family)

        names = Resolver(lookup=lookup, refresh_s=0.001, retry_first_s=0.001)
        names.watch({"a.com"})
        await asyncio.wait_for(script.exhausted.wait(), 10)
        assert await names.addresses("a.com") == SECOND
        assert names.failures == 2
        await names.close()

    asyncio.run(check())


def test_unexpected_error_is_passed_on_as_one_of_the_resolver() -> None:
    async def lookup(_name: str, _family: AddressFamily) -> tuple[IpAddress, ...]:
        raise KeyError("secret")

    async def check() -> None:
        names = Resolver(lookup=lookup, retry_first_s=3_600)
        with pytest.raises(ResolveError, match="internal error: KeyError"):
            await names.addresses("a.com")
        await names.close()

    asyncio.run(check())


def test_lookups_take_turns() -> None:
    async def check() -> None:
        running = most = 0
        proceed = asyncio.Event()

        async def lookup(_name: str, _family: AddressFamily) -> tuple[IpAddress, ...]:
            nonlocal running, most
            running += 1
            most = max(most, running)
            if most >= MAX_LOOKUPS:
                proceed.set()
            await proceed.wait()
            await asyncio.sleep(0)
            running -= 1
            return FIRST

        names = Resolver(lookup=lookup)
        wanted = [f"h{number}.example" for number in range(3 * MAX_LOOKUPS)]
        names.watch(wanted)
        assert await asyncio.gather(*map(names.addresses, wanted)) == [FIRST] * len(wanted)
        assert most == MAX_LOOKUPS
        await names.close()

    asyncio.run(check())


def test_name_that_no_route_has_is_kept_fresh_while_it_is_used() -> None:
    async def check() -> None:
        script = Script(FIRST, SECOND)
        names = resolver(script)
        assert names.known_addresses("a.com") == ()
        assert await names.addresses("a.com") == FIRST
        await script.exhausted.wait()
        assert names.known_addresses("a.com") == SECOND
        names.watch({"a.com"})
        assert names.known_addresses("a.com") == SECOND
        await names.close()

    asyncio.run(check())


def test_name_that_is_not_used_any_more_is_forgotten() -> None:
    async def check() -> None:
        asked = 0

        async def lookup(_name: str, _family: AddressFamily) -> tuple[IpAddress, ...]:
            nonlocal asked
            asked += 1
            return FIRST

        names = Resolver(lookup=lookup, refresh_s=0.001, retry_first_s=0.001, visited_for_s=0)
        assert await names.addresses("a.com") == FIRST
        (watcher,) = {task for task in asyncio.all_tasks() if "_keep_fresh" in repr(task)}
        await watcher
        assert names.known_addresses("a.com") == ()
        assert await names.addresses("a.com") == FIRST
        assert asked == 2
        await names.close()

    asyncio.run(asyncio.wait_for(check(), 10))


def test_who_waits_for_a_name_that_is_dropped_gets_an_error() -> None:
    async def check() -> None:
        script = Script()
        names = resolver(script)
        names.watch({"a.com"})
        waiting = asyncio.create_task(names.addresses("a.com"))
        await script.exhausted.wait()
        names.watch(())
        with pytest.raises(ResolveError, match="the lookup was given up"):
            await waiting
        await names.close()

    asyncio.run(asyncio.wait_for(check(), 10))


def test_clients_cannot_make_the_resolver_keep_any_number_of_names() -> None:
    async def check() -> None:
        async def lookup(_name: str, _family: AddressFamily) -> tuple[IpAddress, ...]:
            return FIRST

        names = Resolver(lookup=lookup)
        names.watch({"route.example"})
        for number in range(MAX_VISITED_NAMES + 1):
            await names.addresses(f"h{number}.example")
        assert names.known_addresses("h0.example") == ()
        assert names.known_addresses("h1.example") == FIRST
        assert await names.addresses("route.example") == FIRST
        await names.close()

    asyncio.run(check())
