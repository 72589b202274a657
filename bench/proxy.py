"""Compare vsock-proxy with its peers in one run, against targets: `make bench-proxy`.

All relay a unix socket to TCP on loopback, because few machines have both a vsock and a peer on it. The contestants
take turns in each round, and a target is about the median of the rounds' ratios, so that other load on the machine does
not decide. For each target that is missed, the proxy's profile of that row follows.

socat is Debian's, as it is and tuned to our chunk size. AWS's proxy takes part if AWS_VSOCK_PROXY names its binary: it
is not in Rust's crate registry. It supports only vsock, so it runs with a small preloaded library
(bench/vsock_over_unix.c, compiled here) that only turns its vsock listener into a unix socket.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Report
from bench.proxy_contestants import OURS, RUST, Contestant, contestants, profiled, show_profile
from bench.proxy_workloads import IDLE, bulk, idle_memory, keep_alive, short_connections

ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        title: what is measured.
        unit: of its values.
        index: which of the workload's values it is.
        target: what our ratio to the opponent must be; about the value itself if it has no opponent.
        rivals: names of the opponents; the best one counts. Empty for all.
        is_better_if_less: whether less is better.
    """

    title: str
    unit: str
    index: int
    target: str
    rivals: tuple[str, ...] = ()
    is_better_if_less: bool = False


@dataclass(frozen=True)
class Workload:
    """What the contestants do in a round, and what is read from it."""

    run: Callable[[Contestant], tuple[float, ...]]
    rows: tuple[Row, ...]
    rounds: int = ROUNDS


def bulk_row(connections: int, *, upload: bool) -> Workload:
    title = f"bulk, {connections} {'up' if upload else 'down'}"
    return Workload(lambda who: (bulk(who, connections, upload=upload),), (Row(title, "MiB/s", 0, ">= 1"),))


WORKLOADS = (
    Workload(
        short_connections,
        (
            Row("connections", "1/s", 0, ">= 1", (RUST,)),
            Row("processor time of a connection", "us", 1, "<= 1", (RUST,), is_better_if_less=True),
        ),
    ),
    Workload(
        keep_alive,
        (
            Row("round trip on a kept-alive connection, p50", "us", 0, "<= 1", (RUST,), is_better_if_less=True),
            Row("round trip on a kept-alive connection, p99", "us", 1, "<= 1", (RUST,), is_better_if_less=True),
        ),
    ),
    *(bulk_row(connections, upload=upload) for connections in (1, 16) for upload in (True, False)),
    Workload(
        lambda who: (idle_memory(who),),
        (Row(f"PSS at {IDLE} idle connections", "MiB", 0, "<= 32", (), is_better_if_less=True),),
        rounds=1,
    ),
)

Taken = dict[str, list[tuple[float, ...]]]


def take_turns(workload: Workload, everybody: list[Contestant], rounds: int) -> Taken:
    """Return what each contestant reached in each round; nothing for one that fails."""
    taken: Taken = {who.name: [] for who in everybody}
    for _ in range(min(rounds, workload.rounds)):
        for who in everybody:
            try:
                taken[who.name].append(workload.run(who))
            except (AssertionError, OSError) as error:
                print(f"  {who.name}: {type(error).__name__} {error}", file=sys.stderr)
                taken[who.name].append(())
    return taken


def ratios(row: Row, taken: Taken) -> list[float]:
    """Return our value through that of the best opponent, round by round."""
    opponents = row.rivals or tuple(name for name in taken if name != OURS)
    best = min if row.is_better_if_less else max
    found = []
    for number, ours in enumerate(taken[OURS]):
        theirs = [taken[name][number][row.index] for name in opponents if name in taken and taken[name][number]]
        if theirs and ours:
            found.append(ours[row.index] / best(theirs))
    return found


def report_row(report: Report, row: Row, taken: Taken) -> bool:
    """Add the row's figures; return whether its target is missed."""
    report.begin(row.title)
    for name, values in taken.items():
        if known := [value[row.index] for value in values if value]:
            is_about_value = name == OURS and row.unit == "MiB"
            report.add(name, statistics.median(known), row.unit, row.target if is_about_value else "")
        else:
            print(f"  {name:62}{'fails':>11}")
    if row.unit != "MiB":
        if not (found := ratios(row, taken)):
            print("  no opponent to compare with")
            return False
        report.add(f"ours / {' or '.join(row.rivals) or 'the best'}", statistics.median(found), "", row.target)
    return report.figures[-1].is_reached is False if row.unit != "MiB" else _is_missed(report, row)


def _is_missed(report: Report, row: Row) -> bool:
    return any(each.is_reached is False for each in report.figures if each.name == OURS and each.target == row.target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows whose title has this text")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if "AWS_VSOCK_PROXY" not in os.environ:
        print("AWS_VSOCK_PROXY does not name a binary of AWS's proxy: rows that compare with it have no target")
    report = Report()
    with tempfile.TemporaryDirectory(prefix="vpc") as folder:
        everybody = list(contestants(Path(folder)))
        for workload in WORKLOADS:
            rows = [row for row in workload.rows if arguments.only in row.title]
            if not rows:
                continue
            taken = take_turns(workload, everybody, arguments.rounds)
            missed = [row.title for row in rows if report_row(report, row, taken)]
            if missed:
                file = Path(folder) / "profile"
                with contextlib.suppress(AssertionError):
                    workload.run(profiled(file))
                show_profile(file, f"profile of {', '.join(missed)}")
    if arguments.json:
        report.write_json(arguments.json)
    sys.exit(any(figure.is_reached is False for figure in report.figures))


if __name__ == "__main__":
    main()
