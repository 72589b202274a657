"""What the processes of a deployment hold: memory and descriptors, as the kernel tells them."""

from __future__ import annotations

import contextlib
import statistics
from dataclasses import dataclass
from pathlib import Path

PAGE_KIB = 4


@dataclass(frozen=True)
class Held:
    """By one process at one moment."""

    rss_kib: int
    descriptors: int


def children_of(pid: int) -> list[int]:
    """Return the processes that ``pid`` has started and that are there."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    """Return whether there is such a process that has not ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def look(pid: int) -> Held:
    """Return what ``pid`` holds now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Held(pages * PAGE_KIB, len(list(Path(f"/proc/{pid}/fd").iterdir())))


def percentile(values: list[float], percent: int) -> float:
    """Return the value below which ``percent`` of a hundred lie."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
