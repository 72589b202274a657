"""How much the proxy holds in memory for slow readers: a cap in bytes over all connections (pure)."""

from __future__ import annotations

CHUNK_BYTES = 262_144
"""Most bytes taken from a socket at once, and so the most that one direction holds for a slow reader."""
OWN_BYTES = 4_096
"""What each direction may hold whatever the others hold, so that readers that stop never stall one that reads."""
SHARED_BYTES = 33_554_432
"""What all directions together hold beyond their own: 32 MiB, as much as 128 readers that stop, at a chunk each."""


class Budget:
    """Counts held bytes: at most SHARED_BYTES, and OWN_BYTES for each direction (two for a connection).

    Args:
        shared_bytes: what may be held beyond each direction's own.
    """

    __slots__ = ("_least_free_bytes", "_shared_bytes", "free_bytes")

    def __init__(self, shared_bytes: int = SHARED_BYTES) -> None:
        self._shared_bytes = shared_bytes
        self._least_free_bytes = shared_bytes
        self.free_bytes = shared_bytes

    def allowance(self) -> int:
        """Return how many bytes a direction that holds nothing may take, at least OWN_BYTES."""
        return min(CHUNK_BYTES, self.free_bytes + OWN_BYTES)

    def hold(self, count: int) -> None:
        """Count what one direction now holds, at most what ``allowance`` has just returned."""
        self.free_bytes -= max(0, count - OWN_BYTES)
        self._least_free_bytes = min(self._least_free_bytes, self.free_bytes)

    def take_peak(self) -> int:
        """Return the most bytes that were held beyond the directions' own since the last call."""
        peak = self._shared_bytes - self._least_free_bytes
        self._least_free_bytes = self.free_bytes
        return peak

    def release(self, count: int) -> None:
        """Take back a ``hold`` of the same number of bytes."""
        self.free_bytes += max(0, count - OWN_BYTES)
