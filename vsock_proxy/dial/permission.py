"""Finds the addresses of a destination that the allowlist permits now.

The allowlist is asked at each connection and about addresses, because a name may resolve differently after the
configuration was loaded. A name that cannot be permitted is never looked up: otherwise an enclave could send data out
in DNS queries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from vsock_proxy.config.allowlist import Allowlist
from vsock_proxy.config.destination import Destination, IpAddress
from vsock_proxy.config.hints import not_allowed_hint
from vsock_proxy.dial.resolver import Resolver
from vsock_proxy.errors import AwsText, NotAllowedError, ResolveError


class Permissions:
    """Answers which addresses of a destination may be connected to; for use inside one event loop.

    Args:
        resolver: resolves names, and keeps those that are in use fresh.
        file: the config file, for hints.

    Attributes:
        file: the config file.
        allowlist: the rules; they may be replaced at any time.
    """

    def __init__(self, resolver: Resolver, *, file: object) -> None:
        self._resolver = resolver
        self.file = file
        self._found: dict[Destination, str] = {}
        self.allowlist = Allowlist(())

    def permitted_now(self, destination: Destination) -> tuple[IpAddress, ...]:
        """Return the permitted addresses that are known without waiting; nothing if that needs ``permitted``."""
        if destination.address is not None:
            return self.allowlist.permitted(destination, (destination.address,))
        if not self.allowlist.permits_without_names(destination):
            return ()
        return self.allowlist.permitted(destination, self._resolver.known_addresses(destination.host))

    async def permitted(
        self, destination: Destination, *, timeout_s: float, uses_names: bool = True
    ) -> tuple[IpAddress, ...]:
        """Return the permitted addresses of ``destination``, best first and at least one.

        Args:
            destination: a host and port.
            timeout_s: seconds for names to resolve.
            uses_names: whether the addresses of the names in the list are permitted, as in AWS's proxy. Not for a
                destination that a client names: it could make the proxy look up the whole list.

        Raises:
            NotAllowedError: the allowlist permits none.
            ResolveError: the name does not resolve, or not in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._permitted(destination, uses_names=uses_names)
        except TimeoutError as error:
            text = f"{AwsText.DNS_FAILED}: {destination.host}: no answer in time"
            raise ResolveError(text, timed_out=True) from error

    async def verify(self, destinations: Iterable[Destination], *, timeout_s: float) -> None:
        """Check that the allowlist permits destinations that it can permit only by the addresses of its names.

        Raises:
            NotAllowedError: it does not permit one of them.
            ResolveError: one does not resolve.
        """
        for destination in destinations:
            if not self.allowlist.permits_without_names(destination):
                try:
                    await self.permitted(destination, timeout_s=timeout_s)
                except NotAllowedError as error:
                    raise NotAllowedError(f"{AwsText.CHECK_FAILED}: {error}", hint=error.hint) from error

    async def _permitted(self, destination: Destination, *, uses_names: bool) -> tuple[IpAddress, ...]:
        names = self.allowlist.names_to_resolve(destination) if uses_names else ()
        if not names and not self.allowlist.permits_without_names(destination):
            raise self._not_allowed(destination)
        try:
            addresses = await self._addresses(destination)
        except ResolveError as error:
            if self.allowlist.permits_without_names(destination):
                raise
            raise self._not_allowed(destination) from error  # nobody has listed it, whatever its addresses are
        permitted = self.allowlist.permitted(destination, addresses)  # the rules of now: a reload may have come
        if not permitted and names:
            permitted = await self._permitted_by_names(destination, addresses, names)
        if not permitted:
            raise self._not_allowed(destination)
        return permitted

    async def _addresses(self, destination: Destination) -> tuple[IpAddress, ...]:
        if destination.address is not None:
            return (destination.address,)
        return await self._resolver.addresses(destination.host)

    async def _permitted_by_names(
        self, destination: Destination, addresses: tuple[IpAddress, ...], names: tuple[str, ...]
    ) -> tuple[IpAddress, ...]:
        """Return those of ``addresses`` that a name in the list has, too, and remember that name."""
        found = self._found.get(destination)
        if found in names:
            names = (found,)
        answers = await asyncio.gather(*map(self._resolver.addresses, names), return_exceptions=True)
        by_name = {name: set(answer) for name, answer in zip(names, answers, strict=True) if isinstance(answer, tuple)}
        shared = {name for name, of_name in by_name.items() if not of_name.isdisjoint(addresses)}
        if shared:
            self._found[destination] = min(shared)
        return self.allowlist.permitted(destination, addresses, of_names=set().union(*by_name.values()))

    def _not_allowed(self, destination: Destination) -> NotAllowedError:
        return NotAllowedError(f"{AwsText.NOT_ALLOWED}: {destination}", hint=not_allowed_hint(destination, self.file))
