"""A few connections to one enclave, lent to many askers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from instance_tool.client.client import EnclaveClient
from instance_tool.errors import BusyError

WAIT_S = 10.0
"""Seconds an asker waits for a connection; less than a client waits for its reply, so that it learns why."""


class EnclavePool:
    """Lends each asker a client of the enclave for itself. Safe to share between threads.

    Args:
        new_client: makes a client; called at most ``size`` times.
        size: most clients, and so connections, at once.
        wait_s: seconds that an asker waits for one.
    """

    def __init__(self, new_client: Callable[[], EnclaveClient], *, size: int, wait_s: float = WAIT_S) -> None:
        self._new_client = new_client
        self._size = size
        self._wait_s = wait_s
        self._places = threading.BoundedSemaphore(size)
        self._idle: list[EnclaveClient] = []

    @contextlib.contextmanager
    def lend(self) -> Iterator[EnclaveClient]:
        """Lend the client that was used last, whose connection is the least likely to have been closed for idleness.

        Raises:
            BusyError: all of them stayed in use.
        """
        if not self._places.acquire(timeout=self._wait_s):
            raise BusyError(
                f"connections to the enclave: expected one of {self._size} within {self._wait_s:g} s, got none",
                hint="start kmstool-instance serve with a larger --enclave-connections",
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
        """Close the connections that nobody uses."""
        while (client := self._take_idle()) is not None:
            client.close()

    def _take_idle(self) -> EnclaveClient | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None
