"""Memory and file descriptors of a deployment's processes, as the kernel reports them."""

from __future__ import annotations

import contextlib
import statistics
from dataclasses import dataclass
from pathlib import Path

PAGE_KIB = 4


@dataclass(frozen=True)
class Held:
    """The resources of one process at one time."""

    rss_kib: int
    descriptors: int


def children_of(pid: int) -> list[int]:
    """Return the running child processes of ``pid``."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    """Return whether a process exists and has not ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def look(pid: int) -> Held:
    """Return the current resources of ``pid``."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Held(pages * PAGE_KIB, len(list(Path(f"/proc/{pid}/fd").iterdir())))


def percentile(values: list[float], percent: int) -> float:
    """Return the given percentile of the values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
