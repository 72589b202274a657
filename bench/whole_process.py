"""One kmstool-instance from start to exit, many decrypts in one batch, and kmstool-enclave up to its first response."""

from __future__ import annotations

import base64
import contextlib
import importlib.metadata
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.chain import Chain, ask, chain, connect
from bench.figures import Report
from bench.processes import proportional_mib, resident_mib
from nitro_simulator.account import SimulatedAccount
from nitro_simulator.deployment.processes import clean_environment, tool_path
from vsock_wire.errors import TransportError
from vsock_wire.net.address import UnixAddress
from vsock_wire.net.sockets import connect_socket

ROUNDS = 15
BATCH_LINES = 10_000
FLAT_LINES = (1_000, 100_000)
STARTS = 7
ENCLAVE_REQUIREMENTS = Path(__file__).parents[1] / "requirements" / "enclave.txt"

MEASURED_RUN = Path(__file__).with_name("measured_run.py")

STAGES = """
import json, os, sys, time
stamps = [("start", time.perf_counter())]
def stamp(name): stamps.append((name, time.perf_counter()))
import instance_tool.main
import instance_tool.commands.decrypt
from instance_tool.client.client import EnclaveClient
from instance_tool.credentials.imds import fetch_role_credentials
from vsock_wire.net.address import parse_address
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.vocabulary import Operation
stamp("imports")
credentials = fetch_role_credentials(os.environ).credentials
stamp("credentials")
client = EnclaveClient(parse_address(sys.argv[1]))
client.set_credentials(credentials, "us-east-1")
client.send_credentials()
stamp("connect")
client.ask_enclave(KmsRequest(Operation.DECRYPT, {"CiphertextBlob": bytes(200)}))
stamp("request")
print(json.dumps({name: 1000 * (at - before) for (_, before), (name, at) in zip(stamps, stamps[1:])}))
"""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one process: wall and processor time in seconds, peak memory in MiB, and its standard output."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    output: bytes


def run(arguments: list[str], environment: dict[str, str], stdin: Path = Path(os.devnull)) -> Outcome:
    """Run a process until it exits; it must succeed."""
    with tempfile.NamedTemporaryFile() as usage, stdin.open("rb") as source:
        command = [sys.executable, "-S", str(MEASURED_RUN), usage.name, *arguments]
        result = subprocess.run(command, stdin=source, stdout=subprocess.PIPE, env=environment, check=True)
        return Outcome(**json.loads(usage.read()), output=result.stdout)


@contextlib.contextmanager
def metadata_service() -> Iterator[dict[str, str]]:
    """Run a simulated IMDSv2; yield environment variables that point to it."""
    with tempfile.TemporaryDirectory(prefix="kmi") as folder, SimulatedAccount(Path(folder)) as account:
        yield clean_environment(account.imds_environment)


def measure_instance(report: Report) -> float:
    """Measure single decrypts, with credentials from IMDSv2; return how many fit into a second."""
    report.begin("one kmstool-instance, credentials from IMDSv2, enclave running (median of interleaved runs)")
    with chain() as running, metadata_service() as environment:
        address = f"unix:{running.socket_path}"
        ciphertext_b64 = base64.b64encode(bytes(200)).decode()
        decrypt = [tool_path("kmstool-instance"), "--enclave", address, "--region", "us-east-1", ciphertext_b64]
        bare, whole, stages = [], [], []
        for _ in range(ROUNDS):
            bare.append(run([sys.executable, "-c", "pass"], environment))
            whole.append(run(decrypt, environment))
            stages.append(json.loads(run([sys.executable, "-c", STAGES, address], environment).output))
    wall_ms = 1_000 * statistics.median(outcome.wall_s for outcome in whole)
    bare_ms = 1_000 * statistics.median(outcome.wall_s for outcome in bare)
    report.add("wall time", wall_ms, "ms")
    report.add("wall time / that of python -c pass", wall_ms / bare_ms, "", "<= 8")
    report.add("processor time", 1_000 * statistics.median(outcome.cpu_s for outcome in whole), "ms")
    report.add("peak memory", statistics.median(outcome.peak_mib for outcome in whole), "MiB", "<= 40")
    report.add("  of the wall time: interpreter (python -c pass)", bare_ms, "ms")
    for stage in stages[0]:
        report.add(f"  of the wall time: {stage}", statistics.median(each[stage] for each in stages), "ms")
    return 1_000 / wall_ms


def measure_batch(report: Report, single_rate: float) -> None:
    """Measure --batch, compared with the same number of single processes."""
    report.begin("kmstool-instance --batch, one connection")
    with chain() as running, metadata_service() as environment, tempfile.TemporaryDirectory() as folder:
        address = f"unix:{running.socket_path}"
        arguments = [tool_path("kmstool-instance"), "--enclave", address, "--region", "us-east-1", "--batch"]
        rates = [BATCH_LINES / _batch(arguments, environment, Path(folder), BATCH_LINES).wall_s for _ in range(3)]
        short, long = (_batch(arguments, environment, Path(folder), lines).peak_mib for lines in FLAT_LINES)
    rate = statistics.median(rates)
    report.add(f"lines per second, of {BATCH_LINES:,}", rate, "1/s")
    report.add("lines per second / single processes per second", rate / single_rate, "", ">= 30")
    report.add(f"peak memory with {FLAT_LINES[0]:,} lines", short, "MiB")
    report.add(f"peak memory with {FLAT_LINES[1]:,} lines", long, "MiB")
    report.add("peak memory, many lines / few lines", long / short, "", "<= 1.05")


def _batch(arguments: list[str], environment: dict[str, str], folder: Path, lines: int) -> Outcome:
    file = folder / "ciphertexts"
    file.write_bytes((base64.b64encode(bytes(200)) + b"\n") * lines)
    outcome = run(arguments, environment, file)
    assert outcome.output.count(b"\n") == lines
    return outcome


def measure_start(report: Report) -> None:
    """Measure from the start of kmstool-enclave until it listens and until its first decrypt."""
    report.begin("start of kmstool-enclave (median)")
    listening, answering = [], []
    for _ in range(STARTS):
        with chain(wait=False) as running:
            sock = _connect_as_soon_as_possible(running)
            listening.append(time.perf_counter() - running.started_at)
            sock.close()
            with connect(running.socket_path) as client:
                ask(client)
                answering.append(time.perf_counter() - running.started_at)
    report.add("process start to listening", statistics.median(listening), "s")
    report.add("process start to the first response with a plaintext", statistics.median(answering), "s", "<= 1.5")
    for workers in (1, 2):
        with chain(workers=workers) as running:
            for _ in range(8):
                with connect(running.socket_path) as client:
                    ask(client)
            resident = statistics.median(map(resident_mib, running.workers()))
            proportional = statistics.median(map(proportional_mib, running.workers()))
        report.add(f"resident memory per worker, {workers} of them (RSS)", resident, "MiB", "<= 90")
        report.add("  of it, with its share of shared pages (PSS)", proportional, "MiB")
    report.add("bytes of the packages in the enclave's environment", _installed_mib(), "MiB")


def _connect_as_soon_as_possible(running: Chain) -> socket.socket:
    while True:
        with contextlib.suppress(TransportError):
            return connect_socket(UnixAddress(running.socket_path), timeout_s=5)
        time.sleep(0.001)


def _installed_mib() -> float:
    """Return the size of all files that the enclave's locked packages have installed here."""
    names = [line.partition("==")[0].split("[")[0] for line in ENCLAVE_REQUIREMENTS.read_text().splitlines()
             if "==" in line]  # fmt: skip
    total = 0
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # a package for another platform
            for file in importlib.metadata.files(name) or []:
                path = Path(str(file.locate()))
                total += path.stat().st_size if path.is_file() else 0
    return total / 1_048_576
