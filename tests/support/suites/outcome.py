"""The result of each test suite, and the lines that report it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Suite:
    """The tests of one folder below tests/.

    Attributes:
        place: where or with what they ran, if that differs between machines.
        reasons: the reasons for skipped tests, each once.
    """

    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    place: str = ""
    reasons: list[str] = field(default_factory=list)

    @property
    def has_run(self) -> bool:
        """Whether any of its tests was executed."""
        return self.passed + self.failed > 0


def merge(suites: Iterable[Suite]) -> list[Suite]:
    """Return one suite for each name, in the order of names."""
    merged: dict[str, Suite] = {}
    for suite in suites:
        whole = merged.setdefault(suite.name, Suite(suite.name))
        whole.passed += suite.passed
        whole.failed += suite.failed
        whole.skipped += suite.skipped
        whole.place = whole.place or suite.place
        whole.reasons += [reason for reason in suite.reasons if reason not in whole.reasons]
    return [merged[name] for name in sorted(merged)]


def describe(suites: Sequence[Suite]) -> str:
    """Return the line that reports which suites ran, and why others did not."""
    ran = [f"{suite.name} ({suite.place})" if suite.place else suite.name for suite in suites if suite.has_run]
    parts = [f"{', '.join(ran) or 'none'} ran"]
    for suite in suites:
        if suite.skipped:
            name = f"{suite.skipped} of {suite.name}" if suite.has_run else suite.name
            parts.append(f"{name} skipped: {', '.join(suite.reasons)}")
    return f"suites: {'; '.join(parts)}"


def closing_line(suites: Sequence[Suite]) -> str:
    """Return the line that counts tests, in the form that CI systems read."""
    passed, failed, skipped = (
        sum(getattr(suite, what) for suite in suites) for what in ("passed", "failed", "skipped")
    )
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def save(suites: Iterable[Suite], path: Path) -> None:
    """Write suites to a file for ``load``."""
    path.write_text(json.dumps([asdict(suite) for suite in suites]), "utf-8")


def load(path: Path) -> list[Suite]:
    """Read the suites that ``save`` has written."""
    return [Suite(**members) for members in json.loads(path.read_text("utf-8"))]
