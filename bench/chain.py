"""Decrypts per second through the whole chain: clients, kmstool-enclave, vsock-proxy, a stand-in for KMS."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import selectors
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bench.figures import Report
from bench.processes import children, cpu_s, resident_mib
from bench.stand_ins import PLAINTEXT, stand_ins
from nitro_simulator.deployment import processes
from vsock_wire.net.address import UnixAddress

REQUEST = json.dumps({"Operation": "Decrypt", "Ciphertext": base64.b64encode(bytes(200)).decode()}).encode() + b"\0"
SET_CLIENT = (
    b'{"Operation":"SetClient","AwsAccessKeyId":"ASIABENCHBENCHBENCH0","AwsSecretAccessKey":"bench","AwsSessionToken":'
    b'"' + b"t" * 900 + b'","AwsRegion":"us-east-1"}\0'
)
CLIENTS = (1, 8, 64)
RATE_ROUNDS = 3
LONG_RUN = 100_000
LONG_CONNECTION = 10_000
EXPECTED = b'"Message": "' + base64.b64encode(PLAINTEXT)


@dataclass(frozen=True)
class Chain:
    """The running tools.

    Attributes:
        socket_path: where kmstool-enclave listens.
        enclave_pid: its first process.
        other_pids: vsock-proxy and the stand-ins.
        started_at: when that process was started, by time.perf_counter.
    """

    socket_path: str
    enclave_pid: int
    other_pids: list[int]
    started_at: float

    def workers(self) -> list[int]:
        return children(self.enclave_pid) or [self.enclave_pid]


@dataclass
class Run:
    """The result of one run.

    Attributes:
        clients: connections that each send the next request as soon as they have a response.
        workers: processes of kmstool-enclave.
        decrypts: number of responses with the plaintext.
        elapsed_s: duration of the run.
        enclave_cpu_s: processor time of all workers during it.
        latencies_ms: from each request to its response.
    """

    clients: int
    workers: int
    decrypts: int = 0
    elapsed_s: float = 0.0
    enclave_cpu_s: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.decrypts / self.elapsed_s

    @property
    def cpu_ms(self) -> float:
        """Processor time that one decrypt takes in the enclave."""
        return 1_000 * self.enclave_cpu_s / self.decrypts

    def percentile_ms(self, percent: int) -> float:
        return statistics.quantiles(self.latencies_ms, n=100)[percent - 1]


@contextlib.contextmanager
def chain(
    *options: str, workers: int = 1, delay_s: float = 0.0, cpus: set[int] | None = None, wait: bool = True
) -> Iterator[Chain]:
    """Start all tools.

    Args:
        options: more options of kmstool-enclave.
        workers: its number of processes.
        delay_s: seconds that KMS takes for each response.
        cpus: if given, CPUs for kmstool-enclave alone; everything else uses the others.
        wait: whether to wait until kmstool-enclave listens.
    """
    everything = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix="kmb") as name, contextlib.ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, everything)
        os.sched_setaffinity(0, everything - (cpus or set()) or everything)
        folder = Path(name)
        kms_port, pids = stack.enter_context(stand_ins(folder, delay_s=delay_s))
        allowlist = folder / "proxy.yaml"
        allowlist.write_text(f"allowlist: [{{address: 127.0.0.1, port: {kms_port}}}]\n")
        proxy, enclave = (UnixAddress(str(folder / name)) for name in ("proxy.sock", "enclave.sock"))
        command = ["vsock-proxy", "--config", str(allowlist), str(proxy), "127.0.0.1", str(kms_port)]
        tool = processes.running(command, listens_on=proxy, log_file=folder / "proxy.log")
        pids.append(stack.enter_context(tool).process.pid)
        os.sched_setaffinity(0, cpus or everything)
        arguments = [
            "kmstool-enclave", "--allow-non-vsock", "--listen", str(enclave), "--proxy", str(proxy),
            "--nsm", f"unix:{folder}/nsm.sock", "--ca-file", str(folder / "ca.pem"), "-q",
            "--workers", str(workers), "--max-connections", "1000", *options,
        ]  # fmt: skip
        started_at = time.perf_counter()
        if wait:
            tool = processes.running(arguments, listens_on=enclave, log_file=folder / "enclave.log")
            pid = stack.enter_context(tool).process.pid
        else:
            process = stack.enter_context(subprocess.Popen([processes.tool_path(arguments[0]), *arguments[1:]]))
            stack.callback(process.kill)
            pid = process.pid
        os.sched_setaffinity(0, everything - (cpus or set()) or everything)
        yield Chain(enclave.path, pid, pids, started_at)


def run(chain: Chain, *, clients: int, workers: int, duration_s: float, warm_up_s: float = 1.0) -> Run:
    """Send requests without pause on ``clients`` connections for ``duration_s``."""
    result = Run(clients, workers)
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(clients):
            sock = stack.enter_context(connect(chain.socket_path))
            selector.register(sock, selectors.EVENT_READ, Client(sock))
        _load(selector, Run(clients, workers), warm_up_s)
        before = sum(map(cpu_s, chain.workers()))
        _load(selector, result, duration_s)
        result.enclave_cpu_s = sum(map(cpu_s, chain.workers())) - before
    return result


def count(chain: Chain, decrypts: int, *, clients: int) -> list[float]:
    """Make that many decrypts; return the resident MiB of all workers after each tenth of them."""
    memory = []
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(clients):
            sock = stack.enter_context(connect(chain.socket_path))
            selector.register(sock, selectors.EVENT_READ, Client(sock))
        for _ in range(10):
            done = Run(clients, 1)
            while done.decrypts < decrypts // 10:
                _load(selector, done, 0.5)
            memory.append(sum(map(resident_mib, chain.workers())))
    return memory


class Client:
    """One connection with at most one open request."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._asked_at = 0.0
        self._data = b""

    def ask(self) -> None:
        self._asked_at = time.perf_counter()
        self._sock.sendall(REQUEST)

    def latency_ms(self) -> float | None:
        """Read what has arrived; return how long the response took, once it is complete."""
        chunk = self._sock.recv(65_536)
        assert chunk, "kmstool-enclave has closed the connection"
        self._data += chunk
        if not chunk.endswith(b"\0"):
            return None
        assert EXPECTED in self._data, self._data[:500]
        self._data = b""
        return 1_000 * (time.perf_counter() - self._asked_at)


def connect(path: str) -> socket.socket:
    """Return a connection that has sent its credentials."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    sock.sendall(SET_CLIENT)
    reply = b""
    while not reply.endswith(b"\0"):
        reply += sock.recv(65_536)
    assert b'"Status": "Ok"' in reply, reply[:500]
    return sock


def ask(sock: socket.socket) -> float:
    """Make one decrypt; return how many milliseconds it took."""
    client = Client(sock)
    client.ask()
    while (latency_ms := client.latency_ms()) is None:
        pass
    return latency_ms


def _load(selector: selectors.BaseSelector, result: Run, duration_s: float) -> None:
    started = time.perf_counter()
    clients: list[Client] = [key.data for key in selector.get_map().values()]
    for client in clients:
        client.ask()
    under_way = len(clients)
    while under_way:
        for key, _ in selector.select():
            latency_ms = key.data.latency_ms()
            if latency_ms is None:
                continue
            result.decrypts += 1
            result.latencies_ms.append(latency_ms)
            if time.perf_counter() - started < duration_s:
                key.data.ask()
            else:
                under_way -= 1
    result.elapsed_s += time.perf_counter() - started


def measure_rates(report: Report) -> None:
    """Measure decrypts per second, compared with bare RSA on the same processors."""
    cpus = sorted(os.sched_getaffinity(0))
    lone = {cpus[-1]} if len(cpus) > 1 else None
    settings = [
        ("1 worker with its own CPU", 1, lone, ()),
        ("the same, one document used for 60 s", 1, lone, ("--attestation-max-age", "60")),
        (
            f"{len(cpus)} workers on the same CPUs as the rest",
            len(cpus),
            None,
            ("--attestation-max-age", "60"),
        ),
    ]
    for title, workers, cpus_alone, options in settings:
        report.begin(f"decrypts through the whole chain: {title} (median of {RATE_ROUNDS} rounds)")
        runs: dict[int, list[tuple[Run, float]]] = {clients: [] for clients in CLIENTS}
        with chain(*options, workers=workers, cpus=cpus_alone) as running:
            for _ in range(RATE_ROUNDS):
                for clients, taken in runs.items():
                    bare = bare_rsa_rate(0.5)
                    taken.append((run(running, clients=clients, workers=workers, duration_s=2), bare))
        for clients, taken in runs.items():
            _report_rate(report, clients, taken, is_alone=cpus_alone is not None)


def _report_rate(report: Report, clients: int, taken: list[tuple[Run, float]], *, is_alone: bool) -> None:
    def median(of: Callable[[Run, float], float]) -> float:
        return statistics.median(of(run, bare) for run, bare in taken)

    target = ">= 25" if clients == max(CLIENTS) and is_alone else ""
    report.add(f"{clients} clients", median(lambda run, _: run.rate), "1/s")
    report.add(f"{clients} clients: rate / bare RSA rate of one CPU", 100 * median(lambda run, bare: run.rate / bare),
               "%", target)  # fmt: skip
    report.add(f"{clients} clients: RSA's share of the enclave's processor time",
               100 * median(lambda run, bare: 1_000 / bare / run.cpu_ms), "%")  # fmt: skip
    report.add(f"{clients} clients: p50", median(lambda run, _: run.percentile_ms(50)), "ms")
    report.add(f"{clients} clients: p99", median(lambda run, _: run.percentile_ms(99)), "ms")
    if clients == 8:
        report.add("8 clients: p99 / p50", median(lambda run, _: run.percentile_ms(99) / run.percentile_ms(50)),
                   "", "<= 5")  # fmt: skip


def measure_endurance(report: Report) -> None:
    """Measure memory after many decrypts, and the cost of a decrypt on a long connection."""
    report.begin("long runs")
    with chain("--attestation-max-age", "60") as running:
        memory = count(running, LONG_RUN, clients=8)
        report.add(f"resident memory after {LONG_RUN // 10:,} decrypts", memory[0], "MiB")
        report.add(f"resident memory after {LONG_RUN:,}", memory[-1], "MiB")
        report.add("the later / the earlier", memory[-1] / memory[0], "", "<= 1.02")
        with connect(running.socket_path) as sock:
            latencies = [ask(sock) for _ in range(LONG_CONNECTION)]
        early, late = (statistics.median(part) for part in (latencies[1:1_001], latencies[-1_000:]))
        report.add(f"a decrypt at the end of {LONG_CONNECTION:,} on a connection / at the start", late / early, "",
                   "<= 1.1")  # fmt: skip


def bare_rsa_rate(duration_s: float) -> float:
    """Return RSA-2048 OAEP decrypts per second of processor time, with the same library, on one core."""
    key = rsa.generate_private_key(65_537, 2_048)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    ciphertext = key.public_key().encrypt(bytes(32), oaep)
    started, done = time.process_time(), 0
    while time.process_time() - started < duration_s:
        key.decrypt(ciphertext, oaep)
        done += 1
    return done / (time.process_time() - started)
