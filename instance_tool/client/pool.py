"""A few clients of one enclave, shared by many threads.

``kmstool-instance serve`` has a thread for each local program, and each of them may ask the enclave at any time. A
client is for one thread at a time, and every client holds a connection, of which an enclave takes only so many. So the
pool lends clients: a semaphore counts the places, and a thread that finds none waits up to ``wait_s`` and then gets a
BusyError. A thread that has a place takes an idle client, or has a new one made if none is idle.

Idle clients are kept as a stack. The one used last is lent first, because its connection is the least likely to have
been closed by the enclave for idleness; with little to do, the others are not used at all. A client comes back whatever
happened to it: one with a broken connection connects again by itself. ``list.append`` and ``list.pop`` need no lock.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from instance_tool.client.client import EnclaveClient
from instance_tool.errors import BusyError

WAIT_S = 10.0
"""How long a thread waits for a client; less than a local program waits for its reply, so that it learns why."""


class EnclavePool:
    """Lends clients of an enclave to threads. Safe to share between threads.

    Args:
        new_client: makes a client; called at most ``size`` times.
        size: most clients, and so connections, at once.
        wait_s: seconds that a thread waits for one.
    """

    def __init__(self, new_client: Callable[[], EnclaveClient], *, size: int, wait_s: float = WAIT_S) -> None:
        self._new_client = new_client
        self._size = size
        self._wait_s = wait_s
        self._places = threading.BoundedSemaphore(size)
        self._idle: list[EnclaveClient] = []

    @contextlib.contextmanager
    def lend(self) -> Iterator[EnclaveClient]:
        """Lend a client until the block ends.

        Raises:
            BusyError: all of them stayed in use for ``wait_s``.
        """
        if not self._places.acquire(timeout=self._wait_s):
            raise BusyError(
                f"connections to the enclave: all {self._size} stayed busy for {self._wait_s:g} s",
                hint="restart kmstool-instance serve with a larger --enclave-connections",
            )
        try:
            client = self._take_idle() or self._new_client()
            try:
                yield client
            finally:
                self._idle.append(client)
        finally:
            self._places.release()

    def close(self) -> None:
        """Close the connections of the clients that are not lent."""
        while (client := self._take_idle()) is not None:
            client.close()

    def _take_idle(self) -> EnclaveClient | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None
