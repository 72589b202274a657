"""Run every suite: ``python -m tests.run``. `make test` calls it.

Tests run in two lanes at the same time, each a pytest of its own. One lane shares its tests out among as many processes
as there are cores. The other boots guests and builds images: all tests of tests/vsock run in one guest, and those of
tests/images look at one build, so sharing them out would repeat the work. Its output is shown when it has ended.

At the end there is a line about the suites, and a line that counts the tests of all lanes together.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.suites import outcome
from tests.support.suites.outcome import Suite
from tests.support.suites.recorder import OPTION

ROOT = Path(__file__).parents[1]
GUESTS_AND_IMAGES = ("tests/vsock", "tests/images")
SHARED_OUT = ("-n", "auto", "--dist", "worksteal", *(f"--ignore={folder}" for folder in GUESTS_AND_IMAGES))
IN_ONE_PROCESS = ("-p", "no:cacheprovider", *GUESTS_AND_IMAGES)
"""Two runs cannot share the cache of what failed last."""


@dataclass
class Lane:
    """A pytest that runs some of the tests.

    Attributes:
        name: what it is called where it has to be told from others.
        arguments: of pytest.
        folder: where it may write.
        is_shown: whether its output is shown as it comes, not at its end.
    """

    name: str
    arguments: tuple[str, ...]
    folder: Path
    is_shown: bool = False

    def __enter__(self) -> Self:
        self._figures = self.folder / f"{self.name}.json"
        self._output = (self.folder / f"{self.name}.output").open("w+b")
        command = [sys.executable, "-m", "pytest", f"{OPTION}={self._figures}", *self.arguments]
        output = None if self.is_shown else self._output
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        self._output.close()

    def finish(self) -> list[Suite]:
        """Wait for its end, show what it has written, and return how its suites ended."""
        exit_code = self._process.wait()
        self._output.seek(0)
        sys.stdout.buffer.write(self._output.read())
        sys.stdout.flush()
        suites = outcome.load(self._figures) if self._figures.exists() else []
        if exit_code and not any(suite.failed for suite in suites):
            print(f"error: pytest for {self.name}: exit code {exit_code}", flush=True)
            suites.append(Suite(self.name, failed=1))
        return suites


def main() -> int:
    """Run the lanes, and return the exit code."""
    started_at_s = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="suites-")))
        lanes = [
            stack.enter_context(Lane("other suites", SHARED_OUT, folder, is_shown=True)),
            stack.enter_context(Lane("guests and images", IN_ONE_PROCESS, folder)),
        ]
        suites = sorted((suite for lane in lanes for suite in lane.finish()), key=lambda suite: suite.name)
    print(f"{outcome.describe(suites)} (in {time.monotonic() - started_at_s:.0f} s)")
    print(outcome.closing_line(suites))
    return int(any(suite.failed for suite in suites))


if __name__ == "__main__":
    sys.exit(main())
