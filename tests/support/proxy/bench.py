"""Proxies over unix sockets to upstreams on loopback, ready to be connected to."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from tests.support.proxy.processes import PATIENCE_S, READY, Proxy


class Bench:
    """Starts proxies in a folder with short paths, and connects to them; closes everything at the end."""

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
