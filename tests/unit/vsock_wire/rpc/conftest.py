from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.wire.running_server import Answer, RunningServer, StartServer, echo
from vsock_wire.net.address import Address, UnixAddress
from vsock_wire.rpc.server import Limits


@pytest.fixture
def start(short_dir: Path) -> Iterator[StartServer]:
    servers: list[RunningServer] = []

    def start(answer: Answer = echo, address: Address | None = None, **limits: Any) -> RunningServer:
        servers.append(RunningServer(address or UnixAddress(str(short_dir / "server")), answer, Limits(**limits)))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
