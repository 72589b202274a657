"""What Linux reports about a process."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, in user and kernel mode, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident_mib(pid: int) -> float:
    """Return its resident memory, including pages that it shares with others (RSS)."""
    return _kib(Path(f"/proc/{pid}/status"), "VmRSS:") / 1_024


def proportional_mib(pid: int) -> float:
    """Return its resident memory, with its share of shared pages (PSS)."""
    return _kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") / 1_024


def _kib(file: Path, name: str) -> int:
    return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(name))
