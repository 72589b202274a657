"""Let honest clients decrypt while hundreds of connections attack the enclave: ``make attack``."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import click

from nitro_simulator.deployment import command_lines as commands
from tests.support.deployment.deployment import Deployment, deploy
from tests.support.reliability.attackers import KINDS
from tests.support.reliability.honest_clients import Honest
from tests.support.reliability.processes import children_of, look, percentile

CLIENTS = 8
WORKERS = 2
SPARE_CONNECTIONS = 64
CONNECTION_KIB = 320
"""Maximum memory that one connection may cost the enclave, whatever it sends: an incomplete message of 64 KiB, the same
amount of data that has just arrived, a reply, and a thread's stack."""


@click.command()
@click.option("--connections", default=500, show_default=True, help="How many attack.")
@click.option("--seconds", default=60.0, show_default=True, help="Duration of each half: with attackers, and without.")
def main(connections: int, seconds: float) -> None:
    """Compare honest clients with and without attackers; exit with 1 if a request or the memory limit is lost."""
    limit = str(connections + CLIENTS + SPARE_CONNECTIONS)
    with deploy(start=False) as deployment:
        deployment.start_proxy()
        deployment.start_enclave("enclave", "--workers", str(WORKERS), "--max-connections", limit, "--quiet")
        quiet = _measure(deployment, "without attackers", seconds)
        before_kib = _memory_kib(deployment)
        with _attackers(deployment, connections):
            attacked = _measure(deployment, f"with {connections} of {len(KINDS)} kinds", seconds)
            peak_kib = attacked.peak_kib
    bound_kib = before_kib + (connections + CLIENTS) * CONNECTION_KIB
    print(f"memory of the enclave: {before_kib / 1024:.0f} MiB before, {peak_kib / 1024:.0f} MiB at most under attack;"
          f" bound: {bound_kib / 1024:.0f} MiB")  # fmt: skip
    sys.exit(bool(quiet.failures or attacked.failures or peak_kib > bound_kib))


class _Watched(Honest):
    """The honest clients, and the peak memory of the enclave's processes."""

    peak_kib = 0


def _measure(deployment: Deployment, what: str, seconds: float) -> _Watched:
    ends_at = time.monotonic() + seconds
    with _Watched(deployment, CLIENTS) as honest:
        while time.monotonic() < ends_at:
            honest.peak_kib = max(honest.peak_kib, _memory_kib(deployment))
            time.sleep(0.25)
    p50, p99 = (percentile(honest.latencies_ms, percent) for percent in (50, 99))
    print(
        f"{what:26} {CLIENTS} clients, {honest.decrypts:,} decrypts, {len(honest.failures)} lost,"
        f" p50 {p50:.1f} ms, p99 {p99:.1f} ms, slowest {max(honest.latencies_ms):.1f} ms",
        flush=True,
    )
    for failure in honest.failures[:5]:
        print(failure)
    return honest


def _memory_kib(deployment: Deployment) -> int:
    """Return the memory of all processes of the enclave; shared pages count for each."""
    supervisor = deployment.tools["enclave"].process.pid
    return sum(look(pid).rss_kib for pid in (supervisor, *children_of(supervisor)))


@contextlib.contextmanager
def _attackers(deployment: Deployment, connections: int) -> Iterator[None]:
    path = commands.enclave_address(deployment.account).path
    arguments = [sys.executable, "-m", "tests.support.reliability.attackers", path, str(connections)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        deadline = threading.Timer(60.0, process.kill)
        deadline.start()
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"all connected\n", "the attackers could not connect"
            deadline.cancel()
            yield
        finally:
            deadline.cancel()
            process.kill()


if __name__ == "__main__":
    main()
