"""Figures as a table on the terminal and as JSON: each with its unit and, if it has one, its target."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("boto3", "botocore", "cryptography", "urllib3", "cbor2", "pyasn1")


@dataclass(frozen=True)
class Figure:
    """One result.

    Attributes:
        name: what was measured.
        value: the median of its runs.
        unit: unit of the value; empty for a ratio.
        target: the bound that it should meet, such as "<= 8"; empty if there is none.
    """

    name: str
    value: float
    unit: str = ""
    target: str = ""

    @property
    def is_reached(self) -> bool | None:
        """Whether the target is met; None if there is none."""
        if not self.target:
            return None
        relation, bound = self.target.split()
        return self.value <= float(bound) if relation == "<=" else self.value >= float(bound)


@dataclass
class Report:
    """All results of a run, printed as they come in."""

    figures: list[Figure] = field(default_factory=list)

    def begin(self, title: str) -> None:
        print(f"\n{title}", flush=True)

    def add(self, name: str, value: float, unit: str = "", target: str = "") -> None:
        figure = Figure(name, value, unit, target)
        self.figures.append(figure)
        state = {None: "", True: f"   {target}: reached", False: f"   {target}: MISSED"}[figure.is_reached]
        print(f"  {name:62}{value:>11,.2f} {unit:10}{state}", flush=True)

    def write_json(self, file: Path) -> None:
        fields = [asdict(figure) | {"is_reached": figure.is_reached} for figure in self.figures]
        file.write_text(json.dumps({"machine": machine(), "figures": fields}, indent=1) + "\n")


def machine() -> dict[str, object]:
    """Print which machine the figures come from."""
    models = [line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def _cpu_lines() -> list[str]:
    return Path("/proc/cpuinfo").read_text().splitlines()
