"""Disturb a proxy at random for a long time; fail if an honest client loses anything: ``make proxy-chaos``.

Honest clients exchange random bytes with an echo all the time and compare them. A failure counts unless a fault that
explains it was on, or had just ended. At the end, descriptors, threads and memory must be back at their first values.
The same seed gives the same faults in the same sequence.
"""

from __future__ import annotations

import contextlib
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import click

from tests.support.proxy.chaos_faults import EXPLAINS, FAULTS
from tests.support.proxy.chaos_stage import Stage
from tests.support.proxy.processes import PATIENCE_S, read_exactly

HONEST = 4
SETTLE_S = 25.0
"""Longest until everything is back: two sweeps, and the lookups that hang."""
GRACE_S = 1.0
"""After a fault has ended, for a client that met it."""
GROWTH_KIB = 6_144
"""What the interpreter's heap may keep of a peak, and of one more route's state for each name."""


@dataclass(frozen=True)
class Values:
    """What must come back."""

    descriptors: int
    threads: int
    resident_kib: int


class Faults:
    """Which fault is on."""

    def __init__(self) -> None:
        self.name = ""
        self._explained_until_s = 0.0

    def run(self, name: str, stage: Stage, rng: random.Random) -> None:
        self.name = name
        FAULTS[name](stage, rng)
        if name in EXPLAINS:
            self._explained_until_s = time.monotonic() + GRACE_S
        self.name = ""

    def explain(self) -> bool:
        return self.name in EXPLAINS or time.monotonic() < self._explained_until_s


class Honest(threading.Thread):
    """A client that exchanges messages on ever new connections, and notes what it loses."""

    def __init__(self, stage: Stage, faults: Faults, seed: int) -> None:
        super().__init__()
        self._stage = stage
        self._faults = faults
        self._rng = random.Random(seed)  # noqa: S311 - bytes to compare, and their sizes
        self._at_end = threading.Event()
        self.exchanges = 0
        self.explained = 0
        self.lost: list[str] = []

    def run(self) -> None:
        while not self._at_end.is_set():
            route = self._rng.choice(["echo", "named"])
            try:
                self._visit(self._stage.path(route))
            except (OSError, AssertionError) as error:
                self._at_end.wait(0.05)
                if self._faults.explain():
                    self.explained += 1
                else:
                    self.lost.append(f"{route}, during {self._faults.name or 'nothing'}: {error!r}")

    def _visit(self, path: str) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE_S)
            client.connect(path)
            for _ in range(self._rng.randrange(1, 5)):
                message = self._rng.randbytes(self._rng.choice([1, 100, 10_000, 100_000]))
                sender = threading.Thread(target=send_all, args=(client, message))
                sender.start()
                try:
                    assert read_exactly(client, len(message)) == message
                finally:
                    sender.join()
                self.exchanges += 1
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""

    def stop(self) -> None:
        self._at_end.set()
        self.join()


def send_all(client: socket.socket, message: bytes) -> None:
    """Send a message; what is lost is found by the reader."""
    with contextlib.suppress(OSError):
        client.sendall(message)


def look(stage: Stage) -> Values:
    return Values(stage.descriptors(), stage.threads(), stage.resident_kib())


def settled(stage: Stage, before: Values) -> Values:
    """Return the values once they are back, or after SETTLE_S."""
    ends_s = time.monotonic() + SETTLE_S
    while not is_back(now := look(stage), before) and time.monotonic() < ends_s:
        time.sleep(0.2)
    return now


def is_back(now: Values, before: Values) -> bool:
    return (
        now.descriptors <= before.descriptors
        and now.threads <= before.threads
        and now.resident_kib <= before.resident_kib + GROWTH_KIB
    )


def disturb(stage: Stage, faults: Faults, rng: random.Random, honest: list[Honest], seconds: float) -> Counter[str]:
    """Run faults next to honest clients: each once, then at random; return how often each was on at random."""
    done: Counter[str] = Counter()
    for client in honest:
        client.start()
    for name in FAULTS:
        faults.run(name, stage, rng)
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s:
        name = rng.choice(list(FAULTS))
        faults.run(name, stage, rng)
        done[name] += 1
        time.sleep(rng.random() / 2)
    for client in honest:
        client.stop()
    return done


@click.command()
@click.option("--seconds", default=600.0, show_default=True, help="How long to disturb the proxy.")
@click.option("--seed", default=1, show_default=True, help="What the faults are derived from.")
def main(seconds: float, seed: int) -> None:
    """Disturb a proxy for a while; exit with 1 if anything was lost or has grown."""
    rng, faults = random.Random(seed), Faults()  # noqa: S311 - which fault comes next
    with tempfile.TemporaryDirectory(prefix="vpx") as folder, Stage(Path(folder)) as stage:
        first = look(stage)
        honest = [Honest(stage, faults, seed * 1_000 + number) for number in range(2 * HONEST)]
        disturb(stage, faults, rng, honest[:HONEST], 0)
        before = settled(stage, replace(first, resident_kib=sys.maxsize))
        done = disturb(stage, faults, rng, honest[HONEST:], seconds)
        after = settled(stage, before)
        bugs = [line for line in stage.log if "internal error" in line]
        code = stage.stop()
    lost = [text for client in honest for text in client.lost]
    print(f"seed {seed}: " + ", ".join(f"{name} {count}" for name, count in sorted(done.items())))
    exchanges = sum(client.exchanges for client in honest)
    explained = sum(client.explained for client in honest)
    print(f"exchanges: {exchanges:,}; refused for want of descriptors: {explained}; lost: {len(lost)}")
    print(f"before: {before}\nafter:  {after}\nexit code after SIGTERM: {code}")
    print("refused: " + ", ".join(f"{count} x {reason}" for reason, count in stage.refusals.most_common(8)))
    print("".join(f"{text}\n" for text in [*lost[:10], *bugs[:10]]), end="")
    sys.exit(bool(lost or bugs or code or not is_back(after, before)))


if __name__ == "__main__":
    main()
