"""Asks the system's resolver for the addresses of a name, without making the event loop wait."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from vsock_proxy.config.destination import IpAddress, parse_ip_address
from vsock_proxy.config.hints import china_hint
from vsock_proxy.errors import AwsText, ResolveError
from vsock_proxy.settings import AddressFamily

_NO_SUCH_FAMILY = {getattr(socket, name, None) for name in ("EAI_ADDRFAMILY", "EAI_NODATA")}
"""The name exists, but not in that family. Source: getaddrinfo(3); not every C library has them."""

Lookup: TypeAlias = Callable[[str, AddressFamily], Awaitable[tuple[IpAddress, ...]]]
"""Returns the addresses of a name, best first and at least one, or raises ResolveError."""


async def look_up(name: str, family: AddressFamily) -> tuple[IpAddress, ...]:
    """Return the addresses of ``name`` in the system's order of preference (RFC 6724).

    The lookup runs in its own thread. After cancellation that thread lives on until the system's resolver gives up, but
    it delays neither the event loop nor the exit of the process.

    Raises:
        ResolveError: there are none, or no name server answered, or the machine has no thread left.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[IpAddress, ...]] = loop.create_future()

    def deliver(result: tuple[IpAddress, ...] | ResolveError) -> None:
        if answer.done():
            return
        if isinstance(result, ResolveError):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    def run() -> None:
        result = _get_addresses(name, family)
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits for the answer
            loop.call_soon_threadsafe(deliver, result)

    try:
        threading.Thread(target=run, name=f"resolve {name}", daemon=True).start()
    except (RuntimeError, MemoryError) as error:
        raise ResolveError(f"{AwsText.DNS_FAILED}: {name}: this process cannot start another thread") from error
    return await answer


def _get_addresses(name: str, family: AddressFamily) -> tuple[IpAddress, ...] | ResolveError:
    """Return the answer or the error, whatever goes wrong: a thread that raised would leave its caller waiting."""
    try:
        answers = socket.getaddrinfo(name, None, family=family.value, type=socket.SOCK_STREAM)
        addresses = (parse_ip_address(str(answer[4][0])) for answer in answers)
        found = tuple(dict.fromkeys(address for address in addresses if address is not None))
    except socket.gaierror as error:
        if family is not AddressFamily.ANY and error.errno in _NO_SUCH_FAMILY:
            return ResolveError(f"{AwsText.NO_FAMILY}: {name} has no address of the family that -4 or -6 selects")
        return _failure(name, error)
    except Exception as error:  # noqa: BLE001 - see above
        return _failure(name, error)
    return found or ResolveError(f"{AwsText.NO_FAMILY}: {name}")


def _failure(name: str, error: Exception) -> ResolveError:
    reason = (getattr(error, "strerror", None) or type(error).__name__).lower()
    hint = china_hint(name) or f"check that this machine resolves it: getent ahosts {name}"
    return ResolveError(f"{AwsText.DNS_FAILED}: {name}: {reason}", hint=hint)
