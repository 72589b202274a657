"""Resolves host names with the system's resolver, in the background.

Every host name of a route is resolved periodically. Connections use the last good addresses and never wait for DNS,
unless a name has not resolved since startup.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from vsock_proxy.config.destination import IpAddress, parse_ip_address
from vsock_proxy.errors import AwsText, ResolveError
from vsock_proxy.settings import DNS_REFRESH_S, AddressFamily

RETRY_FIRST_S = 1.0
"""Seconds until the next lookup after a failed one; doubles each time, up to the refresh interval."""

logger = logging.getLogger(__name__)


Lookup: TypeAlias = Callable[[str, AddressFamily], Awaitable[tuple[IpAddress, ...]]]
"""Returns the addresses of a name, best first and at least one, or raises ResolveError."""


async def look_up(name: str, family: AddressFamily) -> tuple[IpAddress, ...]:
    """Return the addresses of ``name`` in the system's order of preference (RFC 6724).

    The lookup runs in its own thread. After cancellation that thread lives on until the system's resolver gives up, but
    it delays neither the event loop nor the exit of the process.

    Raises:
        ResolveError: there are none, or no name server answered.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[IpAddress, ...]] = loop.create_future()

    def deliver(addresses: tuple[IpAddress, ...], error: ResolveError | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(addresses)
        else:
            answer.set_exception(error)

    def run() -> None:
        addresses: tuple[IpAddress, ...] = ()
        error = None
        try:
            addresses = _get_addresses(name, family)
        except ResolveError as failure:
            error = failure
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits for the answer
            loop.call_soon_threadsafe(deliver, addresses, error)

    threading.Thread(target=run, name=f"resolve {name}", daemon=True).start()
    return await answer


def _get_addresses(name: str, family: AddressFamily) -> tuple[IpAddress, ...]:
    try:
        answers = socket.getaddrinfo(name, None, family=family.value, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = (getattr(error, "strerror", None) or type(error).__name__).lower()
        raise ResolveError(
            f"{AwsText.DNS_FAILED}: {name}: {reason}", hint=f"check that this machine resolves it: getent ahosts {name}"
        ) from error
    addresses = (parse_ip_address(str(answer[4][0])) for answer in answers)
    return tuple(dict.fromkeys(address for address in addresses if address is not None))


class Resolver:
    """Keeps the addresses of the names it watches; for use inside one event loop.

    Args:
        family: which addresses to ask for.
        lookup: asks the system's resolver; tests replace it.
        refresh_s: seconds between two lookups of one name.
        retry_first_s: seconds from a first failure to the next lookup.
    """

    def __init__(
        self,
        family: AddressFamily = AddressFamily.ANY,
        *,
        lookup: Lookup = look_up,
        refresh_s: float = DNS_REFRESH_S,
        retry_first_s: float = RETRY_FIRST_S,
    ) -> None:
        self._family = family
        self._lookup = lookup
        self._refresh_s = refresh_s
        self._retry_first_s = retry_first_s
        self._names: dict[str, _WatchedName] = {}
        self.failures = 0

    def watch(self, names: Iterable[str]) -> None:
        """Watch exactly these names from now on; names that are already watched keep their addresses."""
        wanted = set(names)
        for name in self._names.keys() - wanted:
            self._names.pop(name).task.cancel()
        for name in wanted - self._names.keys():
            watched = _WatchedName()
            watched.task = asyncio.get_running_loop().create_task(self._keep_fresh(name, watched))
            self._names[name] = watched

    async def addresses(self, name: str) -> tuple[IpAddress, ...]:
        """Return the last good addresses of a watched name; wait only if there have never been any.

        Raises:
            ResolveError: there have never been any, and the latest lookup failed.
        """
        watched = self._names.get(name)
        if watched is None:
            return await self._lookup(name, self._family)
        if not watched.addresses:
            await watched.tried.wait()
        if not watched.addresses:
            raise watched.error or ResolveError(f"{AwsText.DNS_FAILED}: {name}")
        return watched.addresses

    def suspect(self, name: str) -> None:
        """Look up a watched name again soon, because none of its addresses answers any more."""
        if (watched := self._names.get(name)) is not None:
            watched.suspected.set()

    async def close(self) -> None:
        """Stop watching."""
        tasks = [watched.task for watched in self._names.values()]
        self.watch(())
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_fresh(self, name: str, watched: _WatchedName) -> None:
        failures = 0
        while True:
            try:
                addresses = await self._lookup(name, self._family)
            except ResolveError as error:
                failures += 1
                self.failures += 1
                watched.fail(error)
                _log_failure(error, failures, watched)
            else:
                if failures or addresses != watched.addresses:
                    logger.info("%s resolves to %s", name, ", ".join(map(str, addresses)))
                failures = 0
                watched.succeed(addresses)
            await self._pause(watched, failures)

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

    @property
    def age_s(self) -> float | None:
        return None if self.resolved_at is None else time.monotonic() - self.resolved_at


def _log_failure(error: ResolveError, failures: int, watched: _WatchedName) -> None:
    if failures > 1 and failures & (failures - 1):
        return  # logs failures 1, 2, 4, 8 ... of a name that is gone for good, not each one
    if watched.age_s is None:
        logger.warning("%s (failure %d, no earlier addresses)", error, failures)
    else:
        logger.warning("%s (failure %d, still using addresses that are %.0f s old)", error, failures, watched.age_s)
