"""How many connections each of several processes serves, told in memory that they share."""

from __future__ import annotations

import mmap


class SharedLoad:
    """A count for each worker, which only that worker writes and every worker reads.

    Made before the workers are forked. No lock: a count is one aligned word, and a reader that sees it a moment late
    errs by a connection, which the limits allow.

    Args:
        workers: how many counts there are, all 0.

    Attributes:
        workers: the same.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._counts = memoryview(mmap.mmap(-1, workers * 4)).cast("I")

    def set(self, worker: int, connections: int) -> None:
        """Tell how many connections ``worker`` serves."""
        self._counts[worker] = connections

    def total(self) -> int:
        """Return how many connections all workers serve together."""
        return sum(self._counts)

    def is_ahead(self, worker: int) -> bool:
        """Return whether some worker serves fewer connections than ``worker``."""
        return self._counts[worker] > min(self._counts)
