"""Measure the tools: `make bench`, or `python -m bench.kmstool [--json FILE]`.

Results: docs/explanation/performance.md.

Everything that is compared runs in turns, so that other load on the machine affects both sides.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.chain import measure_endurance, measure_rates
from bench.figures import Report, machine
from bench.recipient import measure_recipient
from bench.whole_process import measure_batch, measure_instance, measure_start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    arguments = parser.parse_args()
    with _kept_bytecode():
        report = _measure()
    if arguments.json:
        report.write_json(arguments.json)


@contextlib.contextmanager
def _kept_bytecode() -> Iterator[None]:
    """Make every process keep its bytecode in a folder of this run, as if pip had installed it."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        yield


def _measure() -> Report:
    report = Report()
    print(*(f"{name}: {value}" for name, value in machine().items()), sep="\n")
    single_rate = measure_instance(report)
    measure_batch(report, single_rate)
    measure_start(report)
    measure_recipient(report)
    measure_rates(report)
    measure_endurance(report)
    return report


if __name__ == "__main__":
    main()
