"""Run every suite: ``python -m tests.run``, or with --fast those that a change needs. `make test` calls it.

Tests run in two lanes at the same time, each with its own pytest. One lane distributes its tests over as many processes
as there are cores. The other boots guests and builds images: all tests of tests/vsock run in one guest, and those of
tests/images use one build, so distributing them would repeat the work. Its output appears when it has ended. Tests that
measure times are marked ``alone``, and run after both lanes.

At the end, one line reports the suites, and one line counts the tests of all lanes.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self, TypeAlias

from tests.support.suites import outcome
from tests.support.suites.outcome import Suite
from tests.support.suites.recorder import OPTION

ROOT = Path(__file__).parents[1]
GUESTS_AND_IMAGES = ("tests/vsock", "tests/images")
SHARED_OUT = ("-n", "auto", "--dist", "worksteal")
Lanes: TypeAlias = Mapping[str, tuple[str, ...]]
"""The arguments of pytest for each lane. The output of the first appears while it runs."""
ALL: Sequence[Lanes] = (
    {
        "processes": (*SHARED_OUT, "-m", "not alone", *(f"--ignore={folder}" for folder in GUESTS_AND_IMAGES)),
        # Two runs cannot share pytest's cache.
        "guests and images": ("-p", "no:cacheprovider", *GUESTS_AND_IMAGES),
    },
    {"tests alone": ("-p", "no:cacheprovider", "-m", "alone", "tests/system")},
)
FAST: Sequence[Lanes] = ({"processes": (*SHARED_OUT, "tests/unit", "tests/architecture", "tests/docs")},)


class Lane:
    """A pytest that runs some of the tests.

    Args:
        name: distinguishes it from the others.
        arguments: of pytest.
        folder: where it may write.
        is_shown: whether its output appears while it runs, not at its end.
    """

    def __init__(self, name: str, arguments: tuple[str, ...], folder: Path, *, is_shown: bool) -> None:
        self._name = name
        self._figures = folder / f"{name}.json"
        self._output = (folder / f"{name}.output").open("w+b")
        output = None if is_shown else self._output
        command = [sys.executable, "-m", "pytest", f"{OPTION}={self._figures}", *arguments]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # so that pytest stops the processes of its tests
            self._process.wait()
        self._output.close()

    def finish(self) -> list[Suite]:
        """Wait for its end, show the remaining output, and return the results of its suites."""
        exit_code = self._process.wait()
        self._output.seek(0)
        sys.stdout.flush()
        sys.stdout.buffer.write(self._output.read())
        sys.stdout.buffer.flush()
        suites = outcome.load(self._figures) if self._figures.exists() else []
        if exit_code and not any(suite.failed for suite in suites):
            print(f"error: the pytest for {self._name} ended with exit code {exit_code}")
            suites.append(Suite(self._name, failed=1))
        return suites


def run(stages: Sequence[Lanes]) -> int:
    """Run stages one after the other, the lanes of each at the same time; return the exit code."""
    started_at_s = time.monotonic()
    suites: list[Suite] = []
    for lanes in stages:
        suites += _suites_of(lanes)
    suites = outcome.merge(suites)
    print(f"{outcome.describe(suites)} (in {time.monotonic() - started_at_s:.0f} s)")
    print(outcome.closing_line(suites))
    return int(any(suite.failed for suite in suites))


def _suites_of(lanes: Lanes) -> list[Suite]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="suites-")))
        running = [
            stack.enter_context(Lane(name, arguments, folder, is_shown=number == 0))
            for number, (name, arguments) in enumerate(lanes.items())
        ]
        return [suite for lane in running for suite in lane.finish()]


if __name__ == "__main__":
    sys.exit(run(FAST if sys.argv[1:] == ["--fast"] else ALL))
