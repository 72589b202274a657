"""A proxy over a unix socket to an upstream on loopback, ready to be connected to."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.proxy.bench import Bench
from tests.support.proxy.processes import Proxy


@pytest.fixture
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="vp") as folder, ExitStack() as stack:
        yield Bench(Path(folder), stack)


@pytest.fixture
def run_to_end() -> Callable[..., tuple[int, str, str]]:
    """Run the program until it exits by itself; return its exit code, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with Proxy(*arguments) as proxy:
            code = proxy.wait()
            assert proxy.process.stdout is not None
            return code, proxy.process.stdout.read(), proxy.log

    return run
