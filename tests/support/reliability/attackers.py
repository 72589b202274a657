"""Many connections that behave like a hostile parent: ``python -m tests.support.reliability.attackers``.

Arguments: SOCKET COUNT.

If the server closes a connection, the program opens it again at once. It runs until it is killed, and prints a line
when all connections are open at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable

PAUSE_S = 0.25
"""Between two messages of one attacker."""
OVERSIZED = b"x" * 70_000 + b"\0"

Attack = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def idle(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Send nothing."""
    await reader.read(1)


async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a message byte by byte, but never its end."""
    while True:
        writer.write(b"{")
        await writer.drain()
        await asyncio.sleep(PAUSE_S)


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send random messages, and read the replies."""
    while True:
        writer.write(os.urandom(300) + b"\0")
        await writer.drain()
        await reader.read(65_536)
        await asyncio.sleep(PAUSE_S)


async def oversized(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send messages that exceed the size limit."""
    while True:
        writer.write(OVERSIZED)
        await writer.drain()
        await reader.read(65_536)
        await asyncio.sleep(PAUSE_S)


async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send requests for ever, and never read a reply."""
    while True:
        writer.write(b'{"Operation":"Describe"}\0' * 40)
        await writer.drain()
        await asyncio.sleep(PAUSE_S)


async def crowding(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send far more concurrent requests than one connection may have, and read the replies."""
    while True:
        requests = (b'{"Operation":"Decrypt","Id":"%d","Ciphertext":"AAAA"}\0' % number for number in range(64))
        writer.write(b"".join(requests))
        await writer.drain()
        await reader.read(65_536)
        await asyncio.sleep(PAUSE_S)


KINDS: tuple[Attack, ...] = (idle, slow, garbage, oversized, deaf, crowding)


async def _attack(path: str, attack: Attack, opened: asyncio.Semaphore) -> None:
    while True:
        with contextlib.suppress(OSError):
            # Replies that the attacker does not read must stay in the socket, not in this process.
            reader, writer = await asyncio.open_unix_connection(path, limit=1)
            opened.release()
            try:
                await attack(reader, writer)
            finally:
                writer.close()
        await asyncio.sleep(PAUSE_S)


async def _run(path: str, count: int) -> None:
    opened = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(_attack(path, KINDS[number % len(KINDS)], opened))
        for _ in range(count):
            await opened.acquire()
        print("all connected", flush=True)


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], int(sys.argv[2])))
