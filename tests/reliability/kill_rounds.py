"""Kill one part with SIGKILL at a random moment, again and again, while instances decrypt: ``make kill-rounds``."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkProcess

import click

from nitro_simulator.deployment import command_lines as commands
from nitro_simulator.deployment import processes
from nitro_simulator.kms.server import KmsServer
from tests.support.deployment.deployment import CONTEXT_OPTIONS, Deployment, credential_variables, deploy
from tests.support.reliability.processes import children_of, is_running
from vsock_wire.errors import TransportError
from vsock_wire.net.address import TcpAddress
from vsock_wire.net.sockets import connect_socket

WORKERS = 2
MOST_DELAY_S = 1.5
"""Maximum time from the start of the clients to the kill: the duration of one client on a busy machine."""
TIMEOUT_S = 20
"""The --timeout of each client."""
DEADLINE_S = TIMEOUT_S + 5
"""Time by which each client must have ended: the timeout, and the start of a Python process."""
RESTART_S = 15.0
"""Time by which a killed part must be back."""
PLAINTEXT = b"what survives every kill"
FAILURE_CODES = (1, 3)
"""The operation failed; the peer could not be reached."""
ERROR = b"kmstool-instance: error: "


class Rounds:
    """A deployment with KMS in a separate process, and the results of its rounds."""

    def __init__(self, deployment: Deployment) -> None:
        account = deployment.account
        self._deployment = deployment
        self._environment = processes.clean_environment(credential_variables(account.issue_credentials()))
        options = [*commands.instance_arguments(account), "--timeout", str(TIMEOUT_S), *CONTEXT_OPTIONS]
        self._command = [processes.tool_path("kmstool-instance"), *options, deployment.encrypt(PLAINTEXT)]
        self._kms_port = _free_port()
        self._kms: ForkProcess
        self._start_kms()
        self._start_proxy()
        self._enclave = deployment.start_enclave("enclave", "--workers", str(WORKERS)).process.pid
        self.failures: list[str] = []
        self.outcomes: Counter[str] = Counter()
        self.slowest_s = 0.0

    def close(self) -> None:
        """Stop KMS; the deployment stops the other processes."""
        self._kms.kill()
        self._kms.join()

    def play(self, victim: str, delay_s: float, chance: random.Random) -> None:
        """Start clients, kill ``victim`` after a delay, check the clients, and run one more, which must succeed."""
        with self._client() as first, self._client() as second, self._client() as third:
            clients = [first, second, third]
            time.sleep(delay_s)
            if victim == "instance":
                clients.pop(0).kill()
            restore = self._kill(victim, chance)
            judges = [threading.Thread(target=self._judge, args=(client, victim)) for client in clients]
            for judge in judges:
                judge.start()
            for judge in judges:
                judge.join()
        restore()
        with self._client() as client:
            if self._judge(client, "none") != "served":
                self.failures.append(f"after {victim} was back a request failed")

    def _client(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def _judge(self, client: subprocess.Popen[bytes], victim: str) -> str:
        started = time.monotonic()
        try:
            output, errors = client.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            client.kill()
            client.communicate()
            self.failures.append(f"{victim}: a client hung")
            return "hung"
        self.slowest_s = max(self.slowest_s, time.monotonic() - started)
        if client.returncode == 0 and output == PLAINTEXT + b"\n":
            outcome = "served"
        elif client.returncode in FAILURE_CODES and not output and errors.startswith(ERROR):
            outcome = "failed with a clear error"
        else:
            outcome = "unclear"
            self.failures.append(f"{victim}: exit code {client.returncode}, {len(output)} bytes, {errors[:200]!r}")
        self.outcomes[f"{victim} killed: {outcome}"] += 1
        return outcome

    def _kill(self, victim: str, chance: random.Random) -> Callable[[], None]:
        match victim:
            case "proxy":
                tool = self._deployment.tools["proxy"]
                tool.process.kill()
                tool.process.wait()
                return self._start_proxy
            case "KMS":
                self.close()
                return self._start_kms
            case "worker":
                pid = chance.choice(children_of(self._enclave))
                os.kill(pid, signal.SIGKILL)
                return lambda: self._await_worker_after(pid)
        return lambda: None

    def _start_proxy(self) -> None:
        self._deployment.start_proxy(kms_port=self._kms_port)

    def _start_kms(self) -> None:
        self._kms = multiprocessing.get_context("fork").Process(target=self._serve_kms, daemon=True)
        self._kms.start()
        _await_listening(TcpAddress("127.0.0.1", self._kms_port))

    def _serve_kms(self) -> None:
        account = self._deployment.account
        with KmsServer(account.kms, tls=account.tls.server_certificate(account.kms_host), port=self._kms_port):
            threading.Event().wait()

    def _await_worker_after(self, dead: int) -> None:
        deadline = time.monotonic() + RESTART_S
        while time.monotonic() < deadline:
            workers = children_of(self._enclave)
            if dead not in workers and len(workers) == WORKERS and all(map(is_running, workers)):
                return
            time.sleep(0.05)
        self.failures.append("worker: it was not replaced")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _await_listening(address: TcpAddress) -> None:
    deadline = time.monotonic() + RESTART_S
    while True:
        with contextlib.suppress(TransportError):
            connect_socket(address, timeout_s=1.0).close()
            return
        assert time.monotonic() < deadline, f"{address}: nobody listens"
        time.sleep(0.05)


@contextlib.contextmanager
def _rounds() -> Iterator[Rounds]:
    with deploy(start=False) as deployment:
        rounds = Rounds(deployment)
        try:
            yield rounds
        finally:
            rounds.close()


@click.command()
@click.option("--rounds", "count", default=200, show_default=True, help="How many kills.")
@click.option("--seed", type=int, help="Seed of the random times; by default different in each run.")
def main(count: int, seed: int | None) -> None:
    """Kill the proxy, KMS, a worker of the enclave and an instance in turn; exit with 1 if a client hangs."""
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    chance = random.Random(seed)  # noqa: S311 - moments, no secrets
    victims = ("proxy", "KMS", "worker", "instance")
    started = time.monotonic()
    with _rounds() as rounds:
        for number in range(count):
            rounds.play(victims[number % len(victims)], chance.uniform(0, MOST_DELAY_S), chance)
    print(
        f"rounds: {count} in {time.monotonic() - started:,.0f} s, seed {seed}; slowest client {rounds.slowest_s:.1f} s"
    )
    for outcome, times in sorted(rounds.outcomes.items()):
        print(f"{outcome:44} {times:5}")
    print(f"violations: {len(rounds.failures)}")
    for failure in rounds.failures[:10]:
        print(failure)
    sys.exit(bool(rounds.failures))


if __name__ == "__main__":
    main()
