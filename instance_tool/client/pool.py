"""A few clients of one enclave, shared by many threads.

``kmstool-instance serve`` has one thread per local program, and each thread may ask the enclave at any time. A client
serves one thread at a time and holds a connection, and an enclave accepts a limited number of connections. So the pool
lends clients. A semaphore counts how many are lent; a thread that has to wait longer than ``wait_s`` gets a BusyError.
A thread that gets through takes an idle client, or a new one if none is idle.

Idle clients are kept on a stack. The pool lends the one used last, because the enclave is least likely to have closed
its connection for being idle; under light load, the others are not used at all. Every client is returned, whatever
happened to it: one with a broken connection reconnects by itself. ``list.append`` and ``list.pop`` need no lock.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from instance_tool.client.client import EnclaveClient
from instance_tool.errors import BusyError

WAIT_S = 10.0
"""How long a thread waits for a client. A local program waits longer for its reply, so it gets the BusyError."""


class EnclavePool:
    """Lends clients of one enclave to threads. Safe to share between threads.

    Args:
        new_client: makes a client; called at most ``size`` times.
        size: maximum number of clients, and so of connections.
        wait_s: seconds that a thread waits for a client.
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
            BusyError: all clients stayed in use for ``wait_s``.
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
        """Close the connections of idle clients."""
        while (client := self._take_idle()) is not None:
            client.close()

    def _take_idle(self) -> EnclaveClient | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None
