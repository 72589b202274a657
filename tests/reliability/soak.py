"""Decrypt for a long time, and fail if a process's memory or number of descriptors grows: ``make soak``."""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict

import click

from tests.support.deployment.deployment import Deployment, deploy
from tests.support.reliability.honest_clients import Honest
from tests.support.reliability.processes import Held, children_of, look

CLIENTS = 4
WORKERS = 2
WARM_UP_SHARE = 0.05
"""Share of the time that is ignored, until every thread has its arena and every pool its connections."""
GROWTH_SHARE = 0.05
GROWTH_KIB = 2_048
"""Maximum growth of mean memory from the first to the last quarter: this amount plus this share of it."""
GROWTH_DESCRIPTORS = 2


@click.command()
@click.option("--decrypts", default=1_000_000, show_default=True, help="Number of decrypts to stop after.")
@click.option("--seconds", default=1_200.0, show_default=True, help="Seconds to stop after.")
def main(decrypts: int, seconds: float) -> None:
    """Soak a proxy and an enclave with several workers; exit with 1 if one grows or a decrypt fails."""
    seen: dict[int, list[Held]] = defaultdict(list)
    with deploy(start=False) as deployment:
        deployment.start_proxy()
        deployment.start_enclave("enclave", "--workers", str(WORKERS), "--attestation-max-age", "60")
        names = _names(deployment)
        started = time.monotonic()
        with Honest(deployment, CLIENTS, keeps_latencies=False) as honest:
            while (elapsed := time.monotonic() - started) < seconds and honest.decrypts < decrypts:
                time.sleep(min(1.0, seconds / 100))
                if elapsed > seconds * WARM_UP_SHARE or honest.decrypts > decrypts * WARM_UP_SHARE:
                    for pid in names:
                        seen[pid].append(look(pid))
    print(f"decrypts: {honest.decrypts:,} in {elapsed:,.0f} s by {CLIENTS} clients; failed: {len(honest.failures)}")
    print(f"{'process':20} {'first quarter':>24} {'last quarter':>24}")
    growing = [names[pid] for pid, held in seen.items() if not _is_flat(names[pid], held)]
    for failure in honest.failures[:5]:
        print(failure)
    print(f"growing: {', '.join(growing) or 'none'}")
    sys.exit(bool(growing or honest.failures))


def _names(deployment: Deployment) -> dict[int, str]:
    enclave, proxy = (deployment.tools[name].process.pid for name in ("enclave", "proxy"))
    while len(workers := children_of(enclave)) < WORKERS:
        time.sleep(0.05)
    return {
        enclave: "enclave's supervisor",
        **{pid: f"enclave's worker {number}" for number, pid in enumerate(workers)},
        proxy: "proxy",
    }


def _is_flat(name: str, held: list[Held]) -> bool:
    quarter = max(1, len(held) // 4)
    first, last = held[:quarter], held[-quarter:]
    before_kib, after_kib = (statistics.mean(one.rss_kib for one in part) for part in (first, last))
    before, after = (max(one.descriptors for one in part) for part in (first, last))
    print(f"{name:20} {before_kib / 1024:8.1f} MiB {before:3} open {after_kib / 1024:8.1f} MiB {after:3} open")
    return after_kib <= before_kib * (1 + GROWTH_SHARE) + GROWTH_KIB and after <= before + GROWTH_DESCRIPTORS


if __name__ == "__main__":
    main()
