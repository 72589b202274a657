"""A proxy over a unix socket to an upstream on loopback, ready to be connected to."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.proxy_processes import PATIENCE_S, READY, Proxy


class Bench:
    """Starts proxies in a folder with short paths, and connects to them; closes all of it at the end."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.path = folder / "p.sock"
        self._stack = stack

    def allow(self, *entries: tuple[str, int], routes: str = "") -> Path:
        lines = [f"- {{address: {address}, port: {port}}}\n" for address, port in entries]
        self.config.write_text(f"allowlist:\n{''.join(lines)}{routes}")
        return self.config

    def start(self, host: str, port: int, *options: str, environment: Mapping[str, str] | None = None) -> Proxy:
        """Start a proxy from ``path`` to ``host`` and ``port``, which the config allows, and wait until it listens."""
        self.allow((host, port))
        return self.run(*options, f"unix:{self.path}", host, str(port), environment=environment)

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Proxy:
        """Start a proxy with the config and these arguments, and wait until it listens."""
        proxy = Proxy("--config", str(self.config), *arguments, environment=environment)
        self._stack.enter_context(proxy)
        proxy.wait_for(READY)
        return proxy

    def connect(self, path: Path | None = None) -> socket.socket:
        sock = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        sock.settimeout(PATIENCE_S)
        sock.connect(str(path or self.path))
        return sock


@pytest.fixture
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="vp") as folder, ExitStack() as stack:
        yield Bench(Path(folder), stack)


@pytest.fixture
def run_to_end() -> Callable[..., tuple[int, str, str]]:
    """Run the program until it ends by itself; return its exit code, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with Proxy(*arguments) as proxy:
            code = proxy.wait()
            assert proxy.process.stdout is not None
            return code, proxy.process.stdout.read(), proxy.log

    return run
