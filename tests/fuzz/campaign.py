"""Fuzz every target for a time or a number of executions, and print a table: ``python -m tests.fuzz.campaign --help``.

An input that breaks a target is kept in the findings folder; it belongs into the target's corpus, whose files a test
replays, together with the mend.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from tests.fuzz.targets import CORPUS, TARGETS

ROOT = Path(__file__).parents[2]
INPUT_BYTES = 16_384
"""Of the largest input: an attestation document has 5 KB."""
SMALLER_INPUT_BYTES = {"frames": 512, "proxy_configs": 2_048}
"""Where more would only be slower: frames are fuzzed with a limit of their own, and config files have short lines."""
INPUT_S = 10
"""An input that takes longer is a finding."""
MEMORY_MIB = 1_024
"""A target that needs more is a finding."""
_EXECUTIONS = re.compile(rb"stat::number_of_executed_units:\s+(\d+)")


@dataclass(frozen=True)
class Result:
    """Of one target."""

    target: str
    executions: int
    seconds: float
    finding: str | None

    def __str__(self) -> str:
        rate = self.executions / max(self.seconds, 1e-3)
        verdict = self.finding or "none"
        return f"{self.target:22} {self.executions:>12,} {self.seconds:>9,.0f} {rate:>9,.0f}  {verdict}"


@click.command()
@click.option("--seconds", type=click.IntRange(0), default=60, help="For each target; 0 for no bound.")
@click.option("--executions", type=click.IntRange(0), default=0, help="Of each target; 0 for no bound.")
@click.option("--findings", type=click.Path(path_type=Path), default=ROOT / "fuzz-findings", help="Folder for inputs.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the table as JSON, too.")
@click.argument("targets", nargs=-1, type=click.Choice(list(TARGETS)))
def main(seconds: int, executions: int, findings: Path, output: Path | None, targets: tuple[str, ...]) -> None:
    """Fuzz TARGETS, or all; exit code 1 where there is a finding."""
    if not seconds and not executions:
        raise click.UsageError("give --seconds or --executions: without a bound it never ends")
    findings.mkdir(parents=True, exist_ok=True)
    print(f"{'target':22} {'executions':>12} {'seconds':>9} {'per s':>9}  findings", flush=True)
    results = []
    for name in targets or TARGETS:
        results.append(_fuzz(name, seconds, executions, findings))
        print(results[-1], flush=True)
    if output is not None:
        output.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    sys.exit(any(result.finding for result in results))


def _fuzz(name: str, seconds: int, executions: int, findings: Path) -> Result:
    bounds = [f"-max_total_time={seconds}"] if seconds else []
    bounds += [f"-runs={executions}"] if executions else []
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as grown:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.run", name, *bounds),
                *(
                    f"-max_len={SMALLER_INPUT_BYTES.get(name, INPUT_BYTES)}",
                    f"-timeout={INPUT_S}",
                    f"-rss_limit_mb={MEMORY_MIB}",
                ),
                *("-print_final_stats=1", f"-artifact_prefix={findings}/{name}-"),
                *(grown, str(CORPUS / name)),  # libFuzzer writes what it finds of interest into the first
            ],
            cwd=ROOT,
            capture_output=True,
            check=False,
        )
    elapsed_s = time.monotonic() - started
    count = _EXECUTIONS.search(done.stderr)
    finding = None
    if done.returncode:
        log = findings / f"{name}.log"
        log.write_bytes(done.stdout + done.stderr)
        finding = f"exit code {done.returncode}: {log}"
    return Result(name, int(count[1]) if count else 0, round(elapsed_s, 1), finding)


if __name__ == "__main__":
    main()
