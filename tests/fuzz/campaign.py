"""Fuzz every target for a time or a number of executions, and print a table: ``python -m tests.fuzz.campaign --help``.

An input that breaks a target is saved in the findings folder. Add it to the target's corpus together with the fix; a
test replays all files of the corpora.
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
"""Maximum size of an input; an attestation document has 5 KB."""
SMALLER_INPUT_BYTES = {"frames": 512, "proxy_configs": 2_048}
"""Targets for which larger inputs would only be slower: frames have their own limit, and config files short lines."""
INPUT_S = 10
"""An input that takes longer counts as a finding."""
MEMORY_MIB = 1_024
"""A target that needs more memory counts as a finding."""
_EXECUTIONS = re.compile(rb"stat::number_of_executed_units:\s+(\d+)")


@dataclass(frozen=True)
class Result:
    """The result for one target."""

    target: str
    executions: int
    seconds: float
    finding: str | None

    def __str__(self) -> str:
        rate = self.executions / max(self.seconds, 1e-3)
        verdict = self.finding or "none"
        return f"{self.target:22} {self.executions:>12,} {self.seconds:>9,.0f} {rate:>9,.0f}  {verdict}"


@click.command()
@click.option("--seconds", type=click.IntRange(0), default=60, help="Seconds for each target; 0 for no limit.")
@click.option("--executions", type=click.IntRange(0), default=0, help="Executions of each target; 0 for no limit.")
@click.option("--findings", type=click.Path(path_type=Path), default=ROOT / "fuzz-findings", help="Folder for inputs.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write the table as JSON.")
@click.argument("targets", nargs=-1, type=click.Choice(list(TARGETS)))
def main(seconds: int, executions: int, findings: Path, output: Path | None, targets: tuple[str, ...]) -> None:
    """Fuzz TARGETS, or all targets; exit with 1 if there is a finding."""
    if not seconds and not executions:
        raise click.UsageError("pass --seconds or --executions: without a limit it never ends")
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
                *(grown, str(CORPUS / name)),  # libFuzzer writes new interesting inputs into the first folder
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
