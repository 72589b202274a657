"""Compare vsock-proxy with its peers in one run: `python bench/proxy.py`.

Results: docs/explanation/proxy-relay.md.

All relay a unix socket to TCP on loopback, because few machines have both a vsock and a peer on it. socat is Debian's.
AWS's proxy takes part if AWS_VSOCK_PROXY names its binary. It supports only vsock, so it runs with a small preloaded
library (bench/vsock_over_unix.c, compiled here) that only turns its vsock listener into a unix socket.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import Process, get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path

ROUNDS = 5
BULK_MIB = 512
CONNECTIONS = 4_000
CLIENTS = 4
IDLE = 1_000
MIB = 1_048_576

SHIM_SOURCE = Path(__file__).with_name("vsock_over_unix.c")


@dataclass(frozen=True)
class Contestant:
    """A proxy to be measured: how to start it from a unix socket in ``folder`` to a port of 127.0.0.1."""

    name: str
    command: Callable[[Path, int], list[str]]
    environment: Callable[[Path], dict[str, str]] = lambda _: {}
    is_tuned: bool = False


def contestants(folder: Path) -> Iterator[Contestant]:
    config = folder / "config.yaml"

    def ours(here: Path, port: int) -> list[str]:
        config.write_text(f"allowlist: [{{address: 127.0.0.1, port: {port}}}]\n")
        program = str(Path(sys.executable).with_name("vsock-proxy"))
        return [program, "--config", str(config), f"unix:{here}/8000", "127.0.0.1", str(port)]

    yield Contestant("vsock-proxy", ours)
    if shutil.which("socat"):
        for name, options in (("socat", []), ("socat -b 262144", ["-b", "262144"])):
            yield Contestant(
                name,
                is_tuned=bool(options),
                command=lambda here, port, options=options: [  # type: ignore[misc]  # a default argument binds early
                    *("socat", *options, f"UNIX-LISTEN:{here}/8000,fork,backlog=1024", f"TCP:127.0.0.1:{port},nodelay")
                ],
            )
    if (binary := os.environ.get("AWS_VSOCK_PROXY")) is not None:
        shim = folder / "shim.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(shim), str(SHIM_SOURCE), "-ldl"], check=True)

        def aws(_: Path, port: int) -> list[str]:
            config.write_text(f"allowlist: [{{address: 127.0.0.1, port: {port}}}]\n")
            return [binary, "-w", str(IDLE + 24), "--config", str(config), "8000", "127.0.0.1", str(port)]

        yield Contestant("AWS's (Rust)", aws, lambda here: {"LD_PRELOAD": str(shim), "VSOCK_SHIM_DIR": str(here)})


@contextlib.contextmanager
def running(contestant: Contestant, port: int) -> Iterator[tuple[str, int]]:
    """Yield the path of the socket and the process id."""
    with tempfile.TemporaryDirectory(prefix="vpb") as name:
        folder = Path(name)
        with subprocess.Popen(
            contestant.command(folder, port),
            env=os.environ | contestant.environment(folder),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            path = str(folder / "8000")
            while not is_listening(path):
                assert process.poll() is None, f"{contestant.name} exited with code {process.returncode}"
                time.sleep(0.01)
            try:
                yield path, process.pid
            finally:
                os.killpg(process.pid, signal.SIGKILL)


def is_listening(path: str) -> bool:
    """Look into /proc, because the upstream would not expect a test connection."""
    return any(line.endswith(path) for line in Path("/proc/net/unix").read_text().splitlines())


def connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    return sock


def send_all(sock: socket.socket, mib: int) -> None:
    block = os.urandom(MIB)
    with contextlib.suppress(OSError):
        for _ in range(mib):
            sock.sendall(block)
        sock.shutdown(socket.SHUT_WR)


def in_threads(work: Callable[..., object], arguments: list[tuple[object, ...]]) -> None:
    threads = [threading.Thread(target=work, args=each) for each in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def receive_all(sock: socket.socket, totals: list[int]) -> None:
    buffer = bytearray(MIB)
    total = 0
    while count := sock.recv_into(buffer):
        total += count
    totals.append(total)


def bulk(contestant: Contestant, connections: int, *, upload: bool) -> float:
    """Return MiB/s of all connections together."""
    with socket.create_server(("127.0.0.1", 0)) as far, running(contestant, far.getsockname()[1]) as (path, _):
        clients, servers = [], []
        for _ in range(connections):
            clients.append(connect(path))
            servers.append(far.accept()[0])
        sources, sinks = (clients, servers) if upload else (servers, clients)
        mib = BULK_MIB // connections
        sender = get_context("fork").Process(target=in_threads, args=(send_all, [(sock, mib) for sock in sources]))
        totals: list[int] = []
        started = time.perf_counter()
        sender.start()
        for sock in sources:
            sock.close()
        in_threads(receive_all, [(sock, totals) for sock in sinks])
        elapsed = time.perf_counter() - started
        for sock in sinks:
            sock.close()
        sender.join()
        assert totals == [mib * MIB] * connections, (contestant.name, totals)
        return mib * connections / elapsed


def serve_echo(listener: socket.socket) -> None:
    while True:
        with listener.accept()[0] as client, contextlib.suppress(OSError):
            client.sendall(client.recv(100))


def visit(path: str, times: int, failures: SimpleQueue[int]) -> None:
    failed = 0
    for _ in range(times):
        try:
            with connect(path) as sock:
                sock.sendall(b"question")
                failed += sock.recv(100) != b"question"
        except OSError:
            failed += 1
    failures.put(failed)


def connection_rate(contestant: Contestant) -> float:
    """Return connections per second, each with one request and one response."""
    context = get_context("fork")
    with socket.create_server(("127.0.0.1", 0), backlog=1_024) as far:
        server: Process = context.Process(target=serve_echo, args=(far,))  # type: ignore[assignment]
        server.start()
        failures: SimpleQueue[int] = context.SimpleQueue()
        with running(contestant, far.getsockname()[1]) as (path, _):
            visitors = [
                context.Process(target=visit, args=(path, CONNECTIONS // CLIENTS, failures)) for _ in range(CLIENTS)
            ]
            started = time.perf_counter()
            for visitor in visitors:
                visitor.start()
            for visitor in visitors:
                visitor.join()
            elapsed = time.perf_counter() - started
        server.kill()
        server.join()
        failed = sum(failures.get() for _ in visitors)
        assert failed == 0, f"{contestant.name}: {failed} of {CONNECTIONS} connections failed"
        return CONNECTIONS / elapsed


def idle_memory(contestant: Contestant) -> float:
    """Return MiB of resident memory (PSS) of all its processes at IDLE connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=1_024) as far, contextlib.ExitStack() as stack:
        path, pid = stack.enter_context(running(contestant, far.getsockname()[1]))
        far.settimeout(5)
        for _ in range(IDLE):
            client = stack.enter_context(connect(path))
            client.settimeout(5)
            client.sendall(b"x")
            server = stack.enter_context(far.accept()[0])
            assert server.recv(1) == b"x"
        return sum(map(proportional_kib, process_group(pid))) / 1_024


def process_group(group: int) -> list[int]:
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [pid for pid in pids if group_of(pid) == group]


def group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def proportional_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


MEASUREMENTS: dict[str, tuple[Callable[[Contestant], float], int]] = {
    "1 connection, up, MiB/s": (lambda who: bulk(who, 1, upload=True), ROUNDS),
    "1 connection, down, MiB/s": (lambda who: bulk(who, 1, upload=False), ROUNDS),
    "16 connections, up, MiB/s": (lambda who: bulk(who, 16, upload=True), ROUNDS),
    "16 connections, down, MiB/s": (lambda who: bulk(who, 16, upload=False), ROUNDS),
    "connections/s": (connection_rate, ROUNDS),
    f"PSS at {IDLE} idle, MiB": (idle_memory, 1),
}


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="vpc") as folder:
        everybody = list(contestants(Path(folder)))
        heads = [*(who.name for who in everybody), "ours/best peer", "ours/best tuned"]
        print(f"{'':30}" + "".join(f"{head:>17}" for head in heads))
        for title, (measure, rounds) in MEASUREMENTS.items():
            figures = take_figures(measure, everybody, rounds)
            peers = [value for who, value in zip(everybody, figures, strict=True) if not who.is_tuned][1:]
            columns = [*map(text, figures), ratio(title, figures[0], peers), ratio(title, figures[0], figures[1:])]
            print(f"{title:30}" + "".join(f"{column:>17}" for column in columns), flush=True)


def take_figures(
    measure: Callable[[Contestant], float], everybody: list[Contestant], rounds: int
) -> list[float | None]:
    """Return the median of each contestant; they take turns, so that other load on the machine affects all of them."""
    taken: dict[str, list[float]] = {who.name: [] for who in everybody}
    for _ in range(rounds):
        for who in everybody:
            try:
                taken[who.name].append(measure(who))
            except (AssertionError, OSError) as error:
                print(f"{who.name}: {type(error).__name__} {error}", file=sys.stderr)
    return [statistics.median(figures) if figures else None for figures in taken.values()]


def text(value: float | None) -> str:
    return "fails" if value is None else f"{value:.1f}"


def ratio(title: str, ours: float | None, peers: list[float | None]) -> str:
    known = [value for value in peers if value is not None]
    if ours is None or not known:
        return "-"
    return f"{ours / (min(known) if title.startswith('PSS') else max(known)):.2f}"


if __name__ == "__main__":
    main()
