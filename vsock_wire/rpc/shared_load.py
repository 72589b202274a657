"""The number of connections that each of several processes serves, in shared memory."""

from __future__ import annotations

import mmap


class SharedLoad:
    """A count for each worker. Every worker reads all counts and writes only its own.

    Must be created before the workers are forked. It needs no lock: a count is one aligned word, and a reader that sees
    it a moment late is off by one connection, which the limits allow.

    Args:
        workers: number of counts; all start at 0.

    Attributes:
        workers: the same.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._counts = memoryview(mmap.mmap(-1, workers * 4)).cast("I")

    def set(self, worker: int, connections: int) -> None:
        """Set how many connections ``worker`` serves."""
        self._counts[worker] = connections

    def total(self) -> int:
        """Return how many connections all workers serve together."""
        return sum(self._counts)

    def is_ahead(self, worker: int) -> bool:
        """Return whether any worker serves fewer connections than ``worker``."""
        return self._counts[worker] > min(self._counts)
