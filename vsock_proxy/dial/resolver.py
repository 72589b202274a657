"""Keeps the addresses of host names fresh in the background.

How it works. Each watched name has one task, which looks the name up, waits, and looks it up again. Connections use the
last good addresses and never wait for DNS, unless a name has not resolved yet. The names of routes are watched for as
long as the configuration has them (``watch``). A name that a client asks for is watched from its first use and dropped
when it has not been used for a while, or when MAX_VISITED_NAMES newer ones have come.

Why it is built this way. A task must survive every error, because a name without a task keeps its addresses for ever:
so it treats an unexpected exception as a failed lookup. Lookups take turns (MAX_LOOKUPS), because each has a thread and
a file may name thousands of hosts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable

from vsock_proxy.config.destination import IpAddress
from vsock_proxy.dial.lookup import Lookup, look_up
from vsock_proxy.errors import AwsText, ResolveError
from vsock_proxy.settings import DNS_REFRESH_S, AddressFamily

RETRY_FIRST_S = 1.0
"""Seconds until the next lookup after a failed one; doubles each time, up to the refresh interval."""
MAX_LOOKUPS = 64
"""Lookups, and so threads, at the same time. More wait: each has a thread. Even if every lookup hangs for 10 s, 192
names are looked up in each 30 s."""
MAX_VISITED_NAMES = 512
"""Names kept that no route has but clients asked for. An enclave reaches tens of hosts."""
VISITED_FOR_S = 600.0
"""Seconds after its last use for which such a name is kept."""

logger = logging.getLogger(__name__)


class Resolver:
    """Keeps the addresses of the names it watches; for use inside one event loop.

    Args:
        family: which addresses to ask for.
        lookup: asks the system's resolver; tests replace it.
        refresh_s: seconds between two lookups of one name.
        retry_first_s: seconds from a first failure to the next lookup.
        visited_for_s: seconds after its last use for which a name that no route has is kept.
    """

    def __init__(
        self,
        family: AddressFamily = AddressFamily.ANY,
        *,
        lookup: Lookup = look_up,
        refresh_s: float = DNS_REFRESH_S,
        retry_first_s: float = RETRY_FIRST_S,
        visited_for_s: float = VISITED_FOR_S,
    ) -> None:
        self._family = family
        self._lookup = lookup
        self._refresh_s = refresh_s
        self._retry_first_s = retry_first_s
        self._visited_for_s = visited_for_s
        self._turns = asyncio.Semaphore(MAX_LOOKUPS)
        self._watched: dict[str, _WatchedName] = {}
        self._visited: dict[str, _WatchedName] = {}
        self.failures = 0

    def watch(self, names: Iterable[str]) -> None:
        """Watch exactly these names from now on; names that are already known keep their addresses."""
        wanted = set(names)
        for name in self._watched.keys() - wanted:
            self._watched.pop(name).drop(name)
        for name in wanted - self._watched.keys():
            self._watched[name] = self._take_visited(name) or self._start(name)

    def known_addresses(self, name: str) -> tuple[IpAddress, ...]:
        """Return the last good addresses of a name, or nothing if there are none yet."""
        known = self._watched.get(name) or self._visited.get(name)
        if known is None:
            return ()
        known.used_at = time.monotonic()
        return known.addresses

    async def addresses(self, name: str) -> tuple[IpAddress, ...]:
        """Return the last good addresses of a name, and keep them fresh; wait only if there have never been any.

        Raises:
            ResolveError: there have never been any, and the latest lookup failed.
        """
        known = self._watched.get(name) or self._take_visited(name) or self._start(name)
        known.used_at = time.monotonic()
        if name not in self._watched:
            self._visited[name] = known  # last, as the one used most recently
            self._forget_surplus()
        if not known.addresses:
            await known.tried.wait()
        if not known.addresses:
            raise known.error or ResolveError(f"{AwsText.DNS_FAILED}: {name}")
        return known.addresses

    def suspect(self, name: str) -> None:
        """Look up a name again soon, because none of its addresses answers any more."""
        if (known := self._watched.get(name) or self._visited.get(name)) is not None:
            known.suspected.set()

    async def close(self) -> None:
        """Stop watching."""
        tasks = [known.task for known in (*self._watched.values(), *self._visited.values())]
        self._watched.clear()
        self._visited.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _take_visited(self, name: str) -> _WatchedName | None:
        return self._visited.pop(name) if name in self._visited else None

    def _start(self, name: str) -> _WatchedName:
        watched = _WatchedName()
        watched.task = asyncio.get_running_loop().create_task(self._keep_fresh(name, watched))
        return watched

    def _forget_surplus(self) -> None:
        while len(self._visited) > MAX_VISITED_NAMES:
            name = next(iter(self._visited))
            self._visited.pop(name).drop(name)

    async def _keep_fresh(self, name: str, watched: _WatchedName) -> None:
        failures = 0
        while True:
            try:
                async with self._turns:
                    addresses = await self._lookup(name, self._family)
            except Exception as error:  # noqa: BLE001 - a name without its task would never be looked up again
                failures += 1
                self.failures += 1
                watched.fail(_as_resolve_error(name, error))
                _log_failure(watched, failures)
            else:
                if failures or addresses != watched.addresses:
                    logger.info("%s resolves to %s", name, ", ".join(map(str, addresses)))
                failures = 0
                watched.succeed(addresses)
            await self._pause(watched, failures)
            if self._is_forgotten(name, watched):
                return

    def _is_forgotten(self, name: str, watched: _WatchedName) -> bool:
        """Return whether a name has not been used for long, and forget it if so."""
        if self._visited.get(name) is not watched or time.monotonic() - watched.used_at < self._visited_for_s:
            return False
        del self._visited[name]
        return True

    async def _pause(self, watched: _WatchedName, failures: int) -> None:
        if failures:
            await asyncio.sleep(min(self._retry_first_s * 2 ** min(failures - 1, 16), self._refresh_s))
            return
        least_s = min(self._retry_first_s, self._refresh_s)  # a floor, however often the addresses are suspected
        await asyncio.sleep(least_s)
        watched.suspected.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(watched.suspected.wait(), self._refresh_s - least_s)


class _WatchedName:
    """What is known about one name."""

    task: asyncio.Task[None]

    def __init__(self) -> None:
        self.addresses: tuple[IpAddress, ...] = ()
        self.resolved_at: float | None = None
        self.used_at = time.monotonic()
        self.error: ResolveError | None = None
        self.tried = asyncio.Event()
        self.suspected = asyncio.Event()

    def succeed(self, addresses: tuple[IpAddress, ...]) -> None:
        self.addresses = addresses
        self.resolved_at = time.monotonic()
        self.error = None
        self.tried.set()

    def fail(self, error: ResolveError) -> None:
        self.error = error
        self.tried.set()

    def drop(self, name: str) -> None:
        """Stop looking it up; those that wait for its first addresses get an error."""
        self.task.cancel()
        self.fail(ResolveError(f"{AwsText.DNS_FAILED}: {name}: the lookup was given up"))

    @property
    def age_s(self) -> float | None:
        return None if self.resolved_at is None else time.monotonic() - self.resolved_at


def _as_resolve_error(name: str, error: Exception) -> ResolveError:
    if isinstance(error, ResolveError):
        return error
    return ResolveError(f"{AwsText.DNS_FAILED}: {name}: internal error: {type(error).__name__}")


def _log_failure(watched: _WatchedName, failures: int) -> None:
    if failures > 1 and failures & (failures - 1):
        return  # logs failures 1, 2, 4, 8 ... of a name that is gone for good, not each one
    if watched.age_s is None:
        logger.warning("%s (failure %d, no earlier addresses)", watched.error, failures)
    else:
        logger.warning(
            "%s (failure %d, still using addresses that are %.0f s old)", watched.error, failures, watched.age_s
        )
