"""A proxy with three routes, their upstreams, and the ways to disturb it."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.support.proxy.processes import PATIENCE_S, READY, VSOCK_PROXY, Upstream, echo, read_exactly

NAME = "kms.us-east-1.amazonaws.com"
"""The host name that the scripted resolver knows."""
RESOLVER = Path(__file__).parent / "scripted_resolver"


def fetch(client: socket.socket) -> None:
    """Send as many bytes as the client asks for, again and again."""
    while True:
        (count,) = struct.unpack(">I", read_exactly(client, 4))
        client.sendall(bytes(count))


class Stage:
    """Starts everything in a folder; closes it at the end.

    Attributes:
        config: the proxy's config file.
        tcp_port: where the proxy takes TCP clients for the echo.
        pid: the proxy's process.
        refusals: how often the proxy has refused a client, by its reason.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._may_read = threading.Event()
        self._may_read.set()
        self._is_ready = threading.Event()
        self._at_end = threading.Event()
        self._hosts = folder / "hosts"
        self.config = folder / "config.yaml"
        self.log: list[str] = []
        self.refusals: Counter[str] = Counter()
        with socket.create_server(("127.0.0.1", 0)) as finder:
            self.tcp_port: int = finder.getsockname()[1]

    def __enter__(self) -> Self:
        enter = self._stack.enter_context
        self._ports = {
            "echo": enter(Upstream(echo)).port,
            "named": enter(Upstream(echo)).port,
            "fetch": enter(Upstream(fetch)).port,
            "silent": enter(Upstream(lambda _client: self._at_end.wait())).port,
        }
        self._stack.callback(self._at_end.set)
        self.set_dns("127.0.0.1")
        self.write_config()
        self._process = enter(self._start())
        self._stack.callback(self._process.kill)
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()
        self._stack.callback(self._reader.join)
        assert self._is_ready.wait(PATIENCE_S), "".join(self.log)
        return self

    def __exit__(self, *_: object) -> None:
        self._may_read.set()
        self._stack.close()

    def _start(self) -> subprocess.Popen[str]:
        environment = {"PYTHONPATH": str(RESOLVER), "SCRIPTED_HOSTS": str(self._hosts)}
        return subprocess.Popen(
            [VSOCK_PROXY, "--config", str(self.config), "--dns-refresh", "0.5", "--drain-timeout", "20"],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env=os.environ | environment,
        )

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._may_read.wait()
            if " refused " in line:
                self.refusals[line.rpartition(": ")[2].strip()] += 1
            elif "connection from" not in line:
                self.log.append(line)
            if READY in line:
                self._is_ready.set()

    def path(self, route: str) -> str:
        """Return the socket of a route: "echo", "named", "fetch" or "silent"."""
        return str(self._folder / route)

    def write_config(self, *, more_routes: int = 0) -> None:
        """Write the routes, and as many more that nobody uses."""
        hosts = {"echo": "127.0.0.1", "named": NAME, "fetch": "127.0.0.1", "silent": "127.0.0.1"}
        routes = [(f"unix:{self.path(name)}", hosts[name], port) for name, port in self._ports.items()]
        routes.append((f"tcp://127.0.0.1:{self.tcp_port}", "127.0.0.1", self._ports["echo"]))
        routes += [(f"unix:{self.path(f'x{number}')}", "127.0.0.1", 9) for number in range(more_routes)]
        allowed = sorted({(host, port) for _, host, port in routes})
        lines = [f"- {{address: {host}, port: {port}}}" for host, port in allowed]
        lines += ["routes:", *(f"- {{listen: '{at}', address: {host}, port: {port}}}" for at, host, port in routes)]
        new = self.config.with_suffix(".new")
        new.write_text("\n".join(["allowlist:", *lines, ""]))
        new.replace(self.config)

    def set_dns(self, address: str) -> None:
        """Say what the resolver answers: an address, nothing, or "slow"."""
        new = self._hosts.with_suffix(".new")
        new.write_text(f"{NAME} {address}\n" if address else "")
        new.replace(self._hosts)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def limit_descriptors(self, free: int | None) -> None:
        """Let the proxy open only ``free`` more descriptors; None for as many as before."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        limit = hard if free is None else self.descriptors() + free
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (limit, hard))

    @contextlib.contextmanager
    def clients(self, route: str, count: int) -> Iterator[list[socket.socket]]:
        """Open connections to a route, as many as possible; close them at the end."""
        with ExitStack() as stack:
            clients = []
            for _ in range(count):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.settimeout(PATIENCE_S)
                with contextlib.suppress(OSError):
                    client.connect(self.path(route))
                    client.setblocking(False)
                    clients.append(client)
            yield clients

    @contextlib.contextmanager
    def log_unread(self) -> Iterator[None]:
        """Let nobody read the proxy's standard error."""
        self._may_read.clear()
        try:
            yield
        finally:
            self._may_read.set()

    def stop(self) -> int:
        """Send SIGTERM; return the exit code."""
        self.signal(signal.SIGTERM)
        return self._process.wait(PATIENCE_S * 2)

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def threads(self) -> int:
        return self._status("Threads:")

    def resident_kib(self) -> int:
        return self._status("VmRSS:")

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))
