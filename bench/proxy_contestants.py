"""The proxies that bench/proxy.py compares, and ours with a profiler."""

from __future__ import annotations

import contextlib
import os
import pstats
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

OURS = "vsock-proxy"
RUST = "AWS's (Rust)"
SHIM_SOURCE = Path(__file__).with_name("vsock_over_unix.c")
PATIENCE_S = 20.0
_ACCEPTS = " 00010000 "
"""Flags of a unix socket that listens: __SO_ACCEPTCON of <linux/net.h>."""
PROFILED_LINES = 15
_PROFILE = """\
import cProfile, sys
from vsock_proxy.cli import command
profile = cProfile.Profile()
try:
    profile.runcall(command, sys.argv[2:], standalone_mode=False)
finally:
    profile.dump_stats(sys.argv[1])
"""


@dataclass(frozen=True)
class Contestant:
    """A proxy to be measured: how to start it from a unix socket in a folder to a port of 127.0.0.1."""

    name: str
    command: Callable[[Path, int], list[str]]
    environment: Callable[[Path], dict[str, str]] = lambda _: {}
    stops_politely: bool = False


def contestants(folder: Path) -> Iterator[Contestant]:
    """Yield ours and those of its peers that this machine has."""
    yield Contestant(OURS, lambda here, port: [str(Path(sys.executable).with_name("vsock-proxy")), *route(here, port)])
    if shutil.which("socat"):
        for name, options in (("socat", []), ("socat -b 262144", ["-b", "262144"])):
            yield Contestant(
                name,
                lambda here, port, options=options: [  # type: ignore[misc]  # a default argument binds early
                    *("socat", *options, f"UNIX-LISTEN:{here}/8000,fork,backlog=1024", f"TCP:127.0.0.1:{port},nodelay")
                ],
            )
    if (binary := os.environ.get("AWS_VSOCK_PROXY")) is not None:
        shim = folder / "shim.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(shim), str(SHIM_SOURCE), "-ldl"], check=True)
        yield Contestant(
            RUST,
            lambda here, port: [binary, "-w", "1024", *allow(here, port), "8000", "127.0.0.1", str(port)],
            lambda here: {"LD_PRELOAD": str(shim), "VSOCK_SHIM_DIR": str(here)},
        )


def profiled(file: Path) -> Contestant:
    """Return ours, writing a profile to ``file`` when it ends."""
    return Contestant(
        f"{OURS}, profiled",
        lambda here, port: [sys.executable, "-c", _PROFILE, str(file), *route(here, port)],
        stops_politely=True,
    )


def show_profile(file: Path, title: str) -> None:
    """Print the functions that took most of the time."""
    print(f"\n{title}")
    stats = pstats.Stats(str(file))
    stats.strip_dirs().sort_stats("tottime").print_stats(PROFILED_LINES)


def allow(here: Path, port: int) -> list[str]:
    config = here / "config.yaml"
    config.write_text(f"allowlist: [{{address: 127.0.0.1, port: {port}}}]\n")
    return ["--config", str(config)]


def route(here: Path, port: int) -> list[str]:
    return [*allow(here, port), f"unix:{here}/8000", "127.0.0.1", str(port)]


@contextlib.contextmanager
def running(contestant: Contestant, port: int) -> Iterator[tuple[str, int]]:
    """Yield the path of the socket and the process id, which is also that of the process group."""
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
                if contestant.stops_politely:
                    process.send_signal(signal.SIGTERM)
                    process.wait(PATIENCE_S)
                else:
                    os.killpg(process.pid, signal.SIGKILL)


def is_listening(path: str) -> bool:
    """Look into /proc, because the upstream would not expect a test connection."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return any(line.endswith(path) and _ACCEPTS in line for line in lines)


def process_group(group: int) -> list[int]:
    """Return the processes of a group."""
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [pid for pid in pids if _group_of(pid) == group]


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
