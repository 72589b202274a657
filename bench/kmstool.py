"""Measure the tools: `make bench`, or `python -m bench.kmstool [--json FILE]`. What was seen: docs/performance.md.

Everything that is compared runs in turns, so that what else the machine does meets both sides.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.chain import measure_endurance, measure_rates
from bench.figures import Report, machine
from bench.whole_process import measure_batch, measure_instance, measure_start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    report = Report()
    print(*(f"{name}: {value}" for name, value in machine().items()), sep="\n")
    single_rate = measure_instance(report)
    measure_batch(report, single_rate)
    measure_start(report)
    measure_rates(report)
    measure_endurance(report)
    if arguments.json:
        report.write_json(arguments.json)


if __name__ == "__main__":
    main()
